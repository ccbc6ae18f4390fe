"""Reports of what the rules found, one format a file."""
