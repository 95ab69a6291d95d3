"""Stage `compare`: all experiments side by side, and the report."""
