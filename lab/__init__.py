"""A testbed on one machine."""
