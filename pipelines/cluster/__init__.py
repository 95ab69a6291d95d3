"""Ray; the only place in this room that knows it."""
