"""Searching for a better experiment, on inner folds of the fit split alone."""
