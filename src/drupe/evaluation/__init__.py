"""Predictions in, counts and intervals out. NumPy and SciPy only, no torch."""
