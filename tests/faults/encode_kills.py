"""`hourglass encode`, killed at any moment, then run again: alone, with --overwrite, or beside a second one."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.faults.outcome import Outcome, draws
from tests.faults.processes import MARK, left_behind
from tests.serving.tiny_bundles import SHAPE, write_linear, write_quantized

SUBJECT = "encode-kills"
FULL = 100

BATCH, SHARD = 32, 64  # items
IMAGES, ROWS = 640, 4000
WAYS = ("plain", "plain", "overwrite", "two")
ROOT = Path(__file__).parents[2]

# The command line itself, with small shards, and each run of the encoder written down.
ENCODE = f"""
import os, functools
from serving import cli
from serving.bundle import Bundle
encode = Bundle.encode
def counted(self, items, size):
    os.write(log, b"%d\\n" % len(items))
    return encode(self, items, size)
log = os.open(os.environ["ENCODED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
Bundle.encode = counted
cli.encode_to_shards = functools.partial(cli.encode_to_shards, shard_size={SHARD})
cli.main()
"""


@dataclass
class Encoder:
    """Runs `encode` of one input into one folder, under a mark that its processes can be found by."""

    source: Path
    out: Path
    log: Path
    mark: str

    def start(self, model: Path, *options: str) -> subprocess.Popen[str]:
        """Start a process."""
        command = ["encode", self.source, "--model", model, "--out", self.out, "--batch-size", BATCH, "--threads", 1]
        return subprocess.Popen(
            [sys.executable, "-c", ENCODE, *map(str, command), *options],
            cwd=ROOT,
            env=os.environ | {MARK: self.mark, "ENCODED": str(self.log), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def encoded(self) -> int:
        """Return how many items the encoder has run on, in all processes."""
        return sum(map(int, self.log.read_text().split())) if self.log.exists() else 0

    def recorded(self) -> int:
        """Return how many items are in shards that were finished."""
        records = (self.out / ".progress").glob("part-*.json")
        return sum(json.loads(record.read_bytes())["shard"]["count"] for record in records)


def rounds(seed: int, count: int) -> Iterator[Outcome]:
    """Yield one outcome a round."""
    with tempfile.TemporaryDirectory(prefix="encode-kills-") as name:
        home = Path(name)
        model, other = write_linear(home / "model"), write_quantized(home / "other")
        sources = write_inputs(home)
        wanted, seconds = {}, {}
        for kind, source in sources.items():
            encoder = Encoder(source, home / f"wanted-{kind}", home / f"wanted-{kind}.log", f"{os.getpid()}-{kind}")
            began = time.monotonic()
            whole = encoder.start(model)
            said = whole.communicate()
            seconds[kind] = time.monotonic() - began
            assert whole.returncode == 0, said
            wanted[kind] = content(encoder.out)
        for number in range(count):
            drawn = draws(seed, number)
            kind, way = drawn.choice(list(sources)), drawn.choice(WAYS)
            mark = f"encode-{os.getpid()}-{seed}-{number}"
            encoder = Encoder(sources[kind], home / f"{number}", home / f"{number}.log", mark)
            what, problems = one_round(encoder, drawn, way, model, other, seconds[kind])
            if encoder.out.is_dir() and content(encoder.out) != wanted[kind]:
                problems.append("the codes are not those of an undisturbed run")
            problems += left_behind(mark)
            yield Outcome(f"round {number} (seed {seed}): {kind}, {way}: {what}", tuple(problems), f"{kind} {way}")


def one_round(
    encoder: Encoder, drawn: random.Random, way: str, model: Path, other: Path, seconds: float
) -> tuple[str, list[str]]:
    """Kill and run again; return what was done, and what went wrong."""
    options = ["--overwrite"] if way == "overwrite" else []
    problems: list[str] = []
    if way == "overwrite":
        problems += ended(encoder.start(other), "the job before")
        encoder.log.unlink()
    kills = drawn.choice((1, 1, 1, 2))
    moments = [moment(drawn, seconds) for _ in range(kills)]
    for shards, delay in moments:
        process = encoder.start(model, *options)
        second = encoder.start(model) if way == "two" else None
        wait(process, encoder.out, shards, delay)
        process.send_signal(signal.SIGKILL)
        problems += traceback_in(process.communicate()[1])
        if second is not None:
            said = second.communicate()[1]
            problems += traceback_in(said)
            if second.returncode and "is writing to it" not in said:
                problems.append(f"the second one: exit code {second.returncode}: {said.strip()[-300:]}")
    left, before = encoder.recorded(), encoder.encoded()
    finished = (encoder.out / "manifest.json").exists()
    problems += ended(encoder.start(model, *options), "the run after the kill")
    again = encoder.encoded() - before
    total = json.loads((encoder.out / "manifest.json").read_bytes())["items"] if not problems else 0
    todo = 0 if finished else total - left
    if not problems and again != todo and not options:
        problems.append(f"{again} items encoded after the kill, {todo} were not finished")
    if not problems and before + again > total + kills * (2 * SHARD + BATCH) + total * bool(options):
        problems.append(f"{before + again} items encoded in all, there are {total} and {kills} kills")
    leftover = [path.name for path in encoder.out.iterdir() if path.name.startswith(".")]
    if leftover:
        problems.append(f"left in the folder: {leftover}")
    return "; ".join(f"kill {delay:.3f} s after {shards} shards" for shards, delay in moments), problems


def moment(drawn: random.Random, seconds: float) -> tuple[int, float]:
    """Draw when to kill: so many seconds after so many shards are there."""
    if drawn.random() < 0.3:
        return 0, drawn.uniform(0, seconds)
    return drawn.randint(1, IMAGES // SHARD), drawn.uniform(0, 0.05)


def wait(process: subprocess.Popen[str], out: Path, shards: int, delay: float) -> None:
    """Wait until so many shards of a job are there, or it has ended, and then a little longer."""
    while process.poll() is None and len(list(out.glob(".progress/part-*.json"))) < shards:
        time.sleep(0.002)
    time.sleep(delay)


def ended(process: subprocess.Popen[str], name: str) -> list[str]:
    """Wait for a process and return what it did wrong."""
    said = process.communicate()[1]
    wrong = traceback_in(said)
    if process.returncode:
        wrong.append(f"{name}: exit code {process.returncode}: {said.strip()[-300:]}")
    return wrong


def traceback_in(said: str) -> list[str]:
    """Return a problem where a traceback was printed."""
    return [f"traceback: {said.strip()[-300:]}"] if "Traceback" in said else []


def content(folder: Path) -> dict[str, Any]:
    """Return what a job left, but for how long it took."""
    left: dict[str, Any] = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    manifest = json.loads(left.pop("manifest.json", b"{}"))
    return left | {"manifest": {key: value for key, value in manifest.items() if "second" not in key}}


def write_inputs(home: Path) -> dict[str, Path]:
    """Write an array, a folder of images and a table of the same images."""
    pictures = np.random.default_rng(0).integers(0, 256, (ROWS, *SHAPE), np.uint8)
    np.save(home / "array.npy", pictures)
    encoded = []
    for row, picture in enumerate(pictures[:IMAGES]):
        file = io.BytesIO()
        Image.fromarray(picture[..., 0]).save(file, "PNG")
        encoded.append(file.getvalue())
        path = home / "folder" / f"{row % 7}" / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.getvalue())
    pq.write_table(pa.table({"image": encoded}), home / "table.parquet", row_group_size=100)
    return {"array": home / "array.npy", "folder": home / "folder", "table": home / "table.parquet"}
