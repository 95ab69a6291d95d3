"""python -m pipelines.evaluate."""

from pipelines.evaluate.stage import main
from pipelines.project import stage

stage(main)
