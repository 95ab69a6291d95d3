"""Items that a bundle encodes in a second, in memory, on this machine."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

from components.batches import RawItems
from components.data.contract import open_dataset
from items.cpus import available_cpus
from pipelines.units.key import code_digest, digest_of
from pipelines.units.storage import Storage
from pipelines.units.unit import result_key, write_result
from serving.bundle import Bundle

KEY = "encode_items_per_second"
FILE = "throughput.json"
RUNS = 3


def throughput(bundle: Bundle, data: Path, place: Path) -> float:
    """Return how many test items a bundle encodes in a second.

    It is timed once for a bundle and a number of CPUs, and kept.

    Args:
        bundle: with as many threads as there are CPUs.
        data: the folder of a prepared dataset.
        place: the folder where it is kept.
    """
    storage = Storage(place)
    key = digest_of(code_digest(__name__), bundle.manifest.digest, available_cpus())
    if result_key(storage) != key:
        items = open_dataset(data).items("test")
        write_result(storage, key, {FILE: json.dumps({KEY: items_per_second(bundle, items)}).encode()})
    return float(json.loads(storage.read(FILE))[KEY])


def items_per_second(bundle: Bundle, items: RawItems) -> float:
    """Return how many raw items (n, *item.shape) are encoded in a second: the median of three runs."""
    bundle.encode(items[:1])  # opens the session
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        bundle.encode(items)
        seconds.append(time.perf_counter() - began)
    return len(items) / statistics.median(seconds)
