"""python -m pipelines.studies DATASET [--only STUDY]."""

from pipelines.project import stage
from pipelines.studies.stage import main

stage(main)
