"""Statistics: intervals, significance tests and pairing; functions of plain numbers."""
