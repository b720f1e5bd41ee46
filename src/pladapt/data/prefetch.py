"""Work that threads do a little ahead of where its results are used."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future

R = TypeVar("R")


def prefetch(calls: Iterable[Callable[[], R]], threads: int) -> Generator[Callable[[], R]]:
    """Yield for each call what returns its result, or raises what it raised, in order.

    To be closed by its user: a collection of garbage may run in one of its own threads, which
    cannot wait for itself.

    Args:
        calls: What to call, in a thread each.
        threads: How many run at once, and how many results are fetched ahead.
    """
    waiting: deque[Future[R]] = deque()
    executor = ThreadPoolExecutor(threads, thread_name_prefix="pladapt-read")
    try:
        for call in calls:
            waiting.append(executor.submit(call))
            if len(waiting) > threads:
                yield waiting.popleft().result
        while waiting:
            yield waiting.popleft().result
    finally:
        executor.shutdown(cancel_futures=True)
