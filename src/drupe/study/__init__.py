"""Several experiments, run and compared."""
