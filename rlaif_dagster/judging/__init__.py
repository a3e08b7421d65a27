"""Judging: constitution, templates, pairs, judges and their verdicts."""
