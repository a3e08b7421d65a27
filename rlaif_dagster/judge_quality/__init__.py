"""The audit of judges: how accurate, consistent, biased, stable and calibrated their verdicts are.

Plain functions of verdict rows. These modules import numpy, scipy and statsmodels, so import them only where an audit
runs. Every figure, its n and its interval are defined in `judge_figures.py` and `definitions.py`, and explained in
docs/judge-audit.md.
"""
