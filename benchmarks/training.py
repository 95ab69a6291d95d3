"""Training speed as ratios: this project's loop against a bare one, pythae's and that of `autoencoders`.

python -m benchmarks.training [--without pythae]

Rounds alternate: each times one pass of every loop, in an order that rotates, and gives one ratio a rival. So whatever
else the machine does falls on all of them alike. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.loops import Pass, Work, autoencoders, bare, installed, ours, pythae
from components.batches import as_tensor
from components.data import DataError, open_dataset

PEERS = ("pythae", "autoencoders")
LOOPS: dict[str, Callable[[Work], Pass]] = {
    "ours": ours,
    "bare": bare,
    "pythae": pythae,
    "pythae_fused": partial(pythae, fused=True),
    "autoencoders": autoencoders,
    "autoencoders_fused": partial(autoencoders, fused=True),
}
TARGETS = {"bare": 0.95, "pythae": 2.0, "autoencoders": 2.0}


def main(arguments: Sequence[str] | None = None) -> None:
    """Time every loop with each number of threads and print what came out."""
    options = _options(arguments)
    loops = {name: loop for name, loop in LOOPS.items() if name.split("_")[0] not in options.without}
    work = _work(options)
    before = torch.get_num_threads()
    try:
        results = [timed(loops, work, threads, options.rounds) for threads in options.threads]
    finally:
        torch.set_num_threads(before)
    sys.stdout.write(json.dumps(_setting(work, options) | {"results": results}) + "\n")


def timed(loops: dict[str, Callable[[Work], Pass]], work: Work, threads: int, rounds: int) -> dict[str, Any]:
    """Return each loop's items a second, and this project's speed over each rival's, as medians over rounds."""
    torch.set_num_threads(threads)
    passes: dict[str, list[Pass]] = {name: [] for name in loops}
    peaks: list[float] = []
    for turn in range(rounds + 1):
        peaks.append(_peak())
        for name in _rotated(list(loops), turn):
            passes[name].append(loops[name](work))
            print(f"{threads} threads, round {turn} of {rounds}: {name}", file=sys.stderr)
    kept = {name: made[1:] for name, made in passes.items()}  # the first round warms caches and imports
    rivals = [name for name in kept if name != "ours"]
    rate, peak = len(work.raw) / statistics.median(one.seconds for one in kept["ours"]), statistics.median(peaks)
    return {
        "threads": threads,
        "items_per_second": {name: _spread([len(work.raw) / one.seconds for one in kept[name]]) for name in kept},
        "ratios": {name: _ratios(kept, name, "seconds") | _verdict(kept, name) for name in rivals},
        "cpu_time_ratios": {name: _ratios(kept, name, "cpu_seconds") for name in rivals},
        "share_of_peak": round(rate * _operations(work) / peak, 3),
        "peak_gflops": round(peak / 1e9, 1),
        "squared_error": {name: round(statistics.median(one.squared_error for one in kept[name]), 2) for name in kept},
    }


def _ratios(passes: dict[str, list[Pass]], rival: str, clock: str) -> dict[str, float]:
    pairs = zip(passes[rival], passes["ours"], strict=True)
    return _spread([getattr(theirs, clock) / getattr(mine, clock) for theirs, mine in pairs], digits=3)


def _verdict(passes: dict[str, list[Pass]], rival: str) -> dict[str, float | bool]:
    target = TARGETS[rival.split("_")[0]]
    return {"target": target, "met": _ratios(passes, rival, "seconds")["median"] >= target}


def _spread(figures: list[float], digits: int = 0) -> dict[str, float]:
    of = {"median": statistics.median(figures), "min": min(figures), "max": max(figures)}
    return {name: round(figure, digits) for name, figure in of.items()}


def _operations(work: Work) -> float:
    """Return the multiplications and additions an item: forward, and backward but for the first layer's input."""
    values = work.floats.shape[1]
    weights = 2 * (values * work.hidden + work.hidden * work.code)
    return 2.0 * (3 * weights - values * work.hidden)


def _peak() -> float:
    """Return the operations a second of a large matrix product: fp32 on the CPU, bfloat16 on CUDA."""
    cuda = torch.cuda.is_available()
    size = 8192 if cuda else 1024
    square = torch.ones(size, size, device="cuda" if cuda else "cpu", dtype=torch.bfloat16 if cuda else torch.float32)
    fastest = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        (square @ square)[0, 0].item()  # waits for the device
        fastest = min(fastest, time.perf_counter() - began)
    return 2.0 * size**3 / fastest


def _rotated(names: list[str], turn: int) -> list[str]:
    turn %= len(names)
    return names[turn:] + names[:turn]


def _setting(work: Work, options: argparse.Namespace) -> dict[str, Any]:
    values = work.floats.shape[1]
    return {
        "benchmark": "training",
        "data": {"folder": str(options.data), "items": len(work.raw), "passes_a_round": 1},
        "network": f"{values}-{work.hidden}-{work.code}-{work.hidden}-{values}, SiLU",
        "batch_size": work.batch_size,
        "optimizer": "AdamW, no weight decay; fused in ours, bare and *_fused, the peers' own default elsewhere",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "rounds": options.rounds,
        "versions": {name: _version(name) for name in ("torch", *PEERS) if name not in options.without},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not known"


def _work(options: argparse.Namespace) -> Work:
    dataset = open_dataset(options.data)
    raw = dataset.array("train")[: options.items]
    floats = as_tensor(raw).flatten(1).to(torch.float32) / 255.0
    return Work(dataset.schema.item, raw, floats, options.hidden, options.code, options.batch_size)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/mnist"), help="a prepared dataset of images")
    parser.add_argument("--items", type=int, default=12_800, help="how many of its training items")
    parser.add_argument("--rounds", type=int, default=15, help="rounds, after one that does not count")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="each of these numbers of threads")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--hidden", type=int, default=512, help="width of the hidden layers")
    parser.add_argument("--code", type=int, default=16, help="width of the code")
    parser.add_argument("--without", nargs="+", choices=PEERS, default=[], help="peers to leave out")
    options = parser.parse_args(arguments)
    for peer in PEERS:
        if peer not in options.without and not installed(peer):
            parser.error(
                f"{peer} is not installed: `make bench` installs it, as does pip install -c constraints.txt '.[bench]';"
                f" or leave it out: --without {peer}"
            )
    try:
        open_dataset(options.data)
    except DataError as error:
        parser.error(f"--data {options.data}: {error}; `dvc repro prepare@mnist` makes it")
    return options


if __name__ == "__main__":
    main()
