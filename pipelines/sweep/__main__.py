"""python -m pipelines.sweep."""

from pipelines.project import stage
from pipelines.sweep.stage import main

stage(main)
