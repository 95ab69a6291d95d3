"""Classes from codes: by their nearest neighbours and by a linear probe."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def knn_correct(train: Array, train_labels: Array, test: Array, test_labels: Array, k: int = 5) -> Array:
    """Return 1 for each test item whose class the majority of its k nearest training items has, else 0.

    Of classes with equally many neighbours the first counts. Which of equally near items are taken is up to Faiss.

    Args:
        train, test: features (items, dimensions), compared by Euclidean distance.
        train_labels, test_labels: class indices, (items,).
        k: neighbours; all training items where there are fewer.
    """
    import faiss  # a moment, and reading params.yaml imports this module by way of a study

    center = _center(train)
    index = faiss.IndexFlatL2(train.shape[1])
    index.add(np.asarray(train - center, np.float32))
    _, nearest = index.search(np.asarray(test - center, np.float32), min(k, len(train)))
    found = train_labels[nearest]
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    numbered = found + classes * np.arange(len(found))[:, None]
    votes = np.bincount(numbered.reshape(-1), minlength=classes * len(found)).reshape(len(found), classes)
    return np.asarray(votes.argmax(1) == test_labels, np.float64)


def _center(features: Array) -> Array:
    """Return about the mean of features (items, dimensions): far from 0, float32 cannot resolve their distances.

    It is a multiple of a power of two near each dimension's deviation: so small integers stay integers, and what is
    equally near stays equally near.
    """
    deviations = np.maximum(features.std(0, dtype=np.float64), 1e-30)
    steps = 2.0 ** np.ceil(np.log2(deviations))
    return np.asarray(steps * np.round(features.mean(0, dtype=np.float64) / steps))


def probe_correct(train: Array, train_labels: Array, test: Array, test_labels: Array) -> Array:
    """Return 1 for each test item that logistic regression on standardized features gets right, else 0.

    Args: as of :func:`knn_correct`.
    """
    from sklearn.linear_model import LogisticRegression  # here: importing it takes a second
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-3))
    guessed = probe.fit(train, train_labels).predict(test)
    return np.asarray(guessed == test_labels, np.float64)
