"""Threads that work on a stream of items and give the results in the order of the items."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(function: Callable, items: Iterable, jobs: int) -> Iterator:
    """function(item) of each item, `jobs` at a time.

    At most 2 jobs + 1 items are under way, so memory does not grow with the stream. When reading an item
    raises an error, the results of all items before it come first.

    Raises:
        Exception: what function or items raised.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    pending, items, end = deque(), iter(items), None
    pool = ThreadPoolExecutor(jobs)
    try:
        while True:
            while end is None and len(pending) <= 2 * jobs:
                try:
                    item = next(items)
                except Exception as error:  # StopIteration too
                    end = error
                else:
                    pending.append(pool.submit(function, item))
            if not pending:
                break
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
    if not isinstance(end, StopIteration):
        raise end
