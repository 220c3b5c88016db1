"""Threads that work on a stream of items: results in the order of the items, and hashes on another core."""

import hashlib
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


class Hasher:
    """The SHA-256 of a stream of bytes, in a thread of its own where there are several jobs. As a context: at
    its end all bytes are hashed.

    Args:
        jobs: 1 hashes in the thread that gives the bytes.
    """

    AHEAD = 8  # pieces that wait for their turn, so memory does not grow with the stream

    def __init__(self, jobs: int):
        self._digest, self._pending = hashlib.sha256(), deque()
        self._pool = ThreadPoolExecutor(1) if jobs > 1 else None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._pool:
            self._pool.shutdown()

    def update(self, data) -> None:
        """Hash some more bytes, which must not change afterwards."""
        if not self._pool:
            self._digest.update(data)
            return
        self._pending.append(self._pool.submit(self._digest.update, data))
        if len(self._pending) > self.AHEAD:
            self._pending.popleft().result()

    def hexdigest(self) -> str:
        """Of all bytes, once the context has ended."""
        return self._digest.hexdigest()
