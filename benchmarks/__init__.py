"""How fast this project is beside what else one could use, as ratios within one run."""
