"""Stage `prepare`: raw data from its source to a prepared dataset."""
