"""Statements about this package that hold on a machine of one's own, each with the code that shows it."""
