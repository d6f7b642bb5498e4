"""Finding items whose label may be wrong, for a person to look at."""
