"""Giving disk space back: versions that nobody wants to keep are removed from the store, and a note says so."""
