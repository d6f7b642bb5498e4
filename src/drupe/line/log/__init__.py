"""The decision log: hash-chained lines that tell whether any of them was changed."""
