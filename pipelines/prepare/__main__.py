"""python -m pipelines.prepare."""

from pipelines.prepare.stage import main
from pipelines.project import stage

stage(main)
