"""The run directory as one typed thing: names, record, epochs, evaluation."""
