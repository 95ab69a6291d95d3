"""A stage's work in units: planned, keyed, run on Ray, written whole."""
