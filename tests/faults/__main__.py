"""Run the fault programs: `python -m tests.faults [--only SUBJECT ...] [--rounds SCALE] [--seed N]`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from collections import Counter

import tests.faults
from tests.faults.outcome import Subject


def subjects() -> dict[str, Subject]:
    """Return the fault programs: every module of this package that has SUBJECT, FULL and rounds."""
    found = {}
    for module in pkgutil.iter_modules(tests.faults.__path__):
        if module.name.startswith(("test_", "__")):
            continue
        loaded = importlib.import_module(f"tests.faults.{module.name}")
        if hasattr(loaded, "SUBJECT"):
            found[loaded.SUBJECT] = Subject(loaded.SUBJECT, loaded.FULL, loaded.rounds)
    return found


def run(subject: Subject, seed: int, count: int) -> int:
    """Run `count` rounds, print what they came to, and return the number of problems."""
    began = time.monotonic()
    kinds: Counter[str] = Counter()
    done = problems = 0
    for outcome in subject.rounds(seed, count):
        done += 1
        kinds[outcome.kind] += 1
        problems += len(outcome.problems)
        for problem in outcome.problems:
            sys.stdout.write(f"{subject.name}: {outcome.what}: {problem}\n")
        sys.stdout.flush()
    if done < count:
        problems += 1
        sys.stdout.write(f"{subject.name}: ended after {done} of {count} rounds\n")
    for kind, number in sorted(kinds.items()):
        sys.stdout.write(f"{subject.name}: {number:6} {kind}\n")
    sys.stdout.write(f"{subject.name}: {done} rounds, {problems} problems, {time.monotonic() - began:.0f} s\n")
    sys.stdout.flush()
    return problems


def main() -> None:
    """Run the fault programs that are asked for, and exit with 1 where any found a problem."""
    known = subjects()
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Run the fault programs.")
    parser.add_argument("--only", nargs="+", choices=known, default=list(known), metavar="SUBJECT", help=str([*known]))
    parser.add_argument("--rounds", type=float, default=1.0, metavar="SCALE", help="1: the full numbers; 0.1: a tenth")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    asked = parser.parse_args()
    chosen = [known[name] for name in asked.only]
    problems = sum(run(subject, asked.seed, max(1, round(subject.full * asked.rounds))) for subject in chosen)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
