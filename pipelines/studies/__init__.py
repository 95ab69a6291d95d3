"""The lecture's studies: questions put to several experiments at once. One module a kind, each a stage of dvc.yaml."""
