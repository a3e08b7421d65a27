"""Compares two states of a project, and says which cause had which effect."""
