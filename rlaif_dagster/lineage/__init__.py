"""Lineage: what was made from what, recalled where it can be, computed where it must be."""
