"""Parts of models: data, networks, bottlenecks, penalties, training."""
