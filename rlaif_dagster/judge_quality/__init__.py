"""The audit of judges: how right, consistent, biased, stable and calibrated their verdicts are.

Plain functions of verdict rows. numpy, scipy and statsmodels are imported by these modules, so import them where
an audit runs. Every figure, its n and its interval are defined in
`judge_figures.py` and `definitions.py`, and told in docs/judge-audit.md.
"""
