"""Runs, written down in MLflow or TensorBoard as well; files in the store stay the record."""
