"""Tracing: from a policy back to the sentence that shaped it, and from a sentence to all that was learned from it."""
