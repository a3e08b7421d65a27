"""Reinforcement learning from AI feedback as Dagster assets that can be rebuilt and audited."""

__version__ = "0.2.0.dev0"
