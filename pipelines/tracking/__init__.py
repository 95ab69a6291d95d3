"""MLflow as a projection of what lies on disk; the only place in this room that knows it."""
