"""Frees disk space: removes versions that nothing needs from the store, and leaves a note about it."""
