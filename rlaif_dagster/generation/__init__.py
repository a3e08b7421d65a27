"""Generation: samples answers from a policy, or imports them from a file of recorded answers."""
