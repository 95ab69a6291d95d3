"""python -m pipelines.compare."""

from pipelines.compare.stage import main
from pipelines.project import stage

stage(main)
