"""Reporting: one self-contained page about a release, for people who do not read JSON."""
