"""Stage `evaluate`: what bundles measure on the test split."""
