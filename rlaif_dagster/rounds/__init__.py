"""Rounds: decides whether another round pays, and which round has the best policy."""
