"""Work done by threads ahead of its consumer, in order and within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from items.cpus import available_cpus

Given = TypeVar("Given")
Result = TypeVar("Result")


def map_ahead(
    work: Callable[[Given], Result],
    given: Iterable[Given],
    *,
    count: int,
    size_of: Callable[[Given], int] = lambda _: 0,
    total_size: int = 0,
) -> Iterator[Result]:
    """Yield `work` of each, in order; a thread for each CPU does it before the results are asked for.

    Args:
        work: lets go of Python's lock most of the time, as decoders of images do.
        given: what `work` is called with.
        count: results at most that are begun and not yet asked for.
        size_of: the size of one of `given`, in any unit.
        total_size: at most of those that are begun and not yet asked for, together.
    """
    pending: deque[tuple[Future[Result], int]] = deque()
    held = 0
    pool = ThreadPoolExecutor(available_cpus(), thread_name_prefix="ahead")
    try:
        for one in given:
            size = size_of(one)
            pending.append((pool.submit(work, one), size))
            held += size
            while len(pending) > count or held > total_size:
                first, size = pending.popleft()
                held -= size
                yield first.result()
        while pending:
            yield pending.popleft()[0].result()
    finally:
        pool.shutdown(cancel_futures=True)
