"""python -m pipelines.export."""

from pipelines.export.stage import main
from pipelines.project import stage

stage(main)
