"""Stage `export`: the best models as bundles with passing certificates."""
