"""Critique and revision: the first stage of constitutional AI (Bai et al. 2022, arXiv:2212.08073, section 3)."""
