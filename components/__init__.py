"""Pulumi ComponentResources of a testbed, one concern a file."""
