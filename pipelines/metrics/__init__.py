"""Metrics of codes, and when two differ significantly."""
