"""Evaluation: held-out comparisons in; win rates with intervals, plots and one report page out."""
