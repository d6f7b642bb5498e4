"""The service: bundles that decide over HTTP."""
