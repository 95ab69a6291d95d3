"""Work of a study that a kill must not cost: finished parts are kept, by what they were made from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import torch

import components
from items.cpus import available_cpus
from pipelines.project import Project
from pipelines.sweep.record import digest_of

Result = dict[str, Any]  # JSON-able


def remembered(project: Project, parts: Sequence[Result], work: Callable[..., Result]) -> list[Result]:
    """Return `work(**part)` of each part, several at once in processes of one thread; finished ones are not done again.

    Args:
        project: where `.hourglass/studies` keeps the results, by digest of the part, the work's name and the code.
        parts: JSON-able arguments, which say everything that a result depends on.
        work: a module's function, which prints its own progress.
    """
    code = _code_digest(work)
    folder = project.cache / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{digest_of(work.__qualname__, code, part)[:24]}.json" for part in parts]
    missing = [index for index, file in enumerate(files) if _recalled(file) is None]
    if missing:
        workers = min(len(missing), available_cpus())
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker) as pool:
            running = [pool.submit(_kept, work, parts[index], files[index]) for index in missing]
            try:
                for done in as_completed(running):
                    done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)  # what runs ends and is kept, what waits is not begun
                raise
    return [result for file in files if (result := _recalled(file)) is not None]


def _kept(work: Callable[..., Result], part: Result, file: Path) -> None:
    result = work(**part)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps({"result": result, "digest": digest_of(result)}))
    partial.replace(file)


def _recalled(file: Path) -> Result | None:
    """Return a part's result; None where it was not kept, or is damaged: then it is worked out again."""
    try:
        kept = json.loads(file.read_bytes())
        result: Result = kept["result"]
        return result if kept["digest"] == digest_of(result) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _start_worker() -> None:
    torch.set_num_threads(1)  # as many processes as cores: more threads would only wait for each other
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the process that started this one: a pool's worker would outlive one that was killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _code_digest(work: Callable[..., Result]) -> str:
    own = Path(work.__code__.co_filename)
    files = [*Path(components.__file__).parent.rglob("*.py"), own]
    return digest_of(*((path.name, path.read_text()) for path in sorted(files)))
