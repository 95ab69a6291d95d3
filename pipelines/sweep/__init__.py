"""Stage `sweep`: every trial of a dataset's experiments."""
