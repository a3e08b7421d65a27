"""Lineage: what was made from what. Reuses earlier results where possible, computes them where not."""
