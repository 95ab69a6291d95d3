"""Work of a study that a kill must not cost: finished parts are kept, by what they were made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import components
from pipelines.project import Project
from pipelines.record import digest_of
from serving.sessions import available_cpus

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
    missing = [index for index, file in enumerate(files) if not file.exists()]
    if missing:
        workers = min(len(missing), available_cpus())
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
            running = [pool.submit(_kept, work, parts[index], files[index]) for index in missing]
            try:
                for done in as_completed(running):
                    done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)  # what runs ends and is kept, what waits is not begun
                raise
    return [json.loads(file.read_text()) for file in files]


def _kept(work: Callable[..., Result], part: Result, file: Path) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(work(**part)))
    partial.replace(file)


def _one_thread() -> None:
    torch.set_num_threads(1)  # as many processes as cores: more threads would only wait for each other


def _code_digest(work: Callable[..., Result]) -> str:
    own = Path(work.__code__.co_filename)
    files = [*Path(components.__file__).parent.rglob("*.py"), own]
    return digest_of(*((path.name, path.read_text()) for path in sorted(files)))
