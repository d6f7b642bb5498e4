"""Reports, specifications and notebooks: dataclasses first, then templates."""
