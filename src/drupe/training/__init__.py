"""One experiment with one seed becomes one run directory."""
