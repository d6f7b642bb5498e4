"""From a run to a file that decides on a line PC. ``runtime`` needs neither torch nor SciPy."""
