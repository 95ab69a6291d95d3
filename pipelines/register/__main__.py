"""python -m pipelines.register."""

from pipelines.project import stage
from pipelines.register.stage import main

stage(main)
