"""The small generated world of the embedded default: questions, answers, and the ground truth of principles."""
