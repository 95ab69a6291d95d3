"""Raw items, from files to arrays, read by the same code in training and in serving."""
