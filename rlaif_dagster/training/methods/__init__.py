"""The methods of aligning a policy, one a module: each makes a TRL trainer for the same loop (`training.policy`)."""
