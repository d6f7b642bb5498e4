"""Commands that are stopped."""
