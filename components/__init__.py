"""What models are made of: data, networks, bottlenecks, training and metrics."""
