"""Classes from codes: by their nearest neighbours and by a linear probe."""

from __future__ import annotations

from components.metrics import knn_correct, probe_correct

__all__ = ["knn_correct", "probe_correct"]
