"""params.yaml: read, checked whole, and search spaces."""
