"""Raw items: from files to arrays, by the same lines for training and for serving. Knows neither of them, nor torch."""
