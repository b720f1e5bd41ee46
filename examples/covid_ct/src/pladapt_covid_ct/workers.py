"""Tasks side by side, each worker a process that may die without taking the others along."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

T = TypeVar("T")


def in_processes(
    make: Callable[[], Callable[[T], object]], tasks: Sequence[T], jobs: int
) -> Iterator[tuple[T, int | None]]:
    """Do tasks in several processes, and yield each when it has ended.

    Unlike `concurrent.futures`, whose pool breaks as a whole, a process that dies (killed for lack
    of memory, say) takes its own task along and no other. When this process ends, however it ends,
    so do the others: no two ever write to one folder.

    Args:
        make: Called once in each process; returns what does a task. It is pickled.
        tasks: What to do, in order; pickled too.
        jobs: How many processes.

    Yields:
        A task, and None, or the exit code of its process if that died.
    """
    waiting = deque(tasks)
    busy: dict[Any, tuple[BaseProcess, T]] = {}
    try:
        for _ in range(min(jobs, len(tasks))):
            _give(_start(make), waiting.popleft(), busy)
        while busy:
            for connection in wait(list(busy)):
                process, task = busy.pop(connection)
                worker, code = _ended(connection, process)  # type: ignore[arg-type]  # given above
                if waiting:
                    _give(worker or _start(make), waiting.popleft(), busy)
                yield task, code
    finally:
        for process, _ in busy.values():
            process.terminate()


def _start(make: Callable[[], Callable[[T], object]]) -> tuple[Connection, BaseProcess]:
    # not forked: torch's threads and CUDA do not survive that
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(make, theirs), daemon=True)
    process.start()
    theirs.close()  # so that ours ends when the process does
    return ours, process


def _give(
    worker: tuple[Connection, BaseProcess], task: T, busy: dict[Any, tuple[BaseProcess, T]]
) -> None:
    connection, process = worker
    busy[connection] = process, task
    connection.send(task)


def _ended(
    connection: Connection, process: BaseProcess
) -> tuple[tuple[Connection, BaseProcess] | None, int | None]:
    """Return the worker if it lives, else its exit code."""
    try:
        connection.recv()
    except EOFError:
        process.join()
        return None, process.exitcode
    return (connection, process), None


def _serve(make: Callable[[], Callable[[T], object]], connection: Connection) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    do = make()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        do(task)
        connection.send(None)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
