"""What a study found: figures, criteria, document, recommendation."""
