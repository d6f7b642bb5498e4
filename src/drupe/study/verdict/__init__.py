"""The result of a study: figures, criteria, document, recommendation."""
