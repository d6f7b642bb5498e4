"""What the command line does, as functions for notebooks and programs; results show themselves."""
