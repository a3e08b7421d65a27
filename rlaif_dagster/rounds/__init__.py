"""Rounds: whether another one pays, and which one's policy is the best."""
