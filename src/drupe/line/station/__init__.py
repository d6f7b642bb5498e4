"""``drupe run``: from a source over the one decision to sinks; what fails never accepts."""
