"""Ratios in one run, each printing its own table: `python -m benchmarks.NAME`."""
