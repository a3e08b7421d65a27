"""Traces a policy back to the sentences that shaped it, and a sentence to everything learned from it."""
