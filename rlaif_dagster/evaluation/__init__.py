"""Evaluation: turns held-out comparisons into win rates with intervals, plots and a report page."""
