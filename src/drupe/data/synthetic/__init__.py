"""Synthetic cherry crops with known truth."""
