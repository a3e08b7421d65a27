"""Generation: answers sampled from a policy, or imported from a file of recorded answers."""
