"""Style, labels and pictures by kind of item."""
