"""The graph of stages: what each asset reads, which settings shape it, and the function that computes it."""
