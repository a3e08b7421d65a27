"""Reinforcement learning from AI feedback as Dagster assets that can be rebuilt and audited."""

__version__ = "0.1.0"
