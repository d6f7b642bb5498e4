"""Drupe trains, judges and ships image classifiers that must not let a defect through."""

from drupe.errors import DrupeError, InputError

__all__ = ["DrupeError", "InputError", "__version__"]

__version__ = "0.1.0"
