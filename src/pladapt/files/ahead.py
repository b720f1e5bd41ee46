"""Reading files in threads, a few ahead of where they are used."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(
    read: Callable[[T], R], items: Iterable[T], threads: int
) -> Generator[tuple[T, Callable[[], R]]]:
    """Yield each item with what returns its result, or raises what reading it raised.

    To be closed by its user: a collection of garbage may run in one of its own threads, which
    cannot wait for itself.

    Args:
        read: What is called with each item, in a thread.
        items: What to read, in order.
        threads: How many read at once, and how many items are read ahead.
    """
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="pladapt-file") as executor:
        for item in items:
            waiting.append((item, executor.submit(read, item)))
            if len(waiting) > threads:
                first, future = waiting.popleft()
                yield first, future.result
        for item, future in waiting:
            yield item, future.result
