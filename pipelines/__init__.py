"""The pipeline: one module a stage, named as the stage."""
