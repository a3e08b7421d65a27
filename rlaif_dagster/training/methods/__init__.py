"""The policy methods, one module each: every method makes a TRL trainer for the same loop (`training.policy`)."""
