"""Work on many files by threads, with results in order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from drupe.host import available_cores

WAITING, MOST_THREADS = 4, 32

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    task: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    chunk: int,
    workers: int | None,
) -> Iterator[Result]:
    """Yield ``task(items[i : i + chunk])`` for successive chunks, computed by threads.

    Only a few results are held at a time, however many ``items`` there are. None: a few more
    threads than cores, since some wait for the disk.
    """
    threads = workers or min(MOST_THREADS, available_cores() + WAITING)
    with ThreadPoolExecutor(threads) as pool:
        ahead = 3 * threads + 1
        waiting: deque[Future[Result]] = deque()
        try:
            for start in range(0, len(items), chunk):
                waiting.append(pool.submit(task, items[start : start + chunk]))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
