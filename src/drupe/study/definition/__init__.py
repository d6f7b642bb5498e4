"""A study as it was fixed in advance: specification, files, plan, protocol."""
