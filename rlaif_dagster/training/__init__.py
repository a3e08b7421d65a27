"""Training: a reward model from soft preferences, and a policy aligned to them, both by TRL's trainers."""
