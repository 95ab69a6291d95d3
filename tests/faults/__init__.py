"""Fault injection: kills at random moments and damaged files, drawn from a seed. `make faults` runs all rounds."""
