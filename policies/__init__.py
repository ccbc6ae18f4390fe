"""CrossGuard policies of a testbed, one rule a file."""
