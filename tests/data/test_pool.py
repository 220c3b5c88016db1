"""The pool of threads: the order of the items, a bounded number under way, and errors where they belong."""

import hashlib
import os
import threading
from unittest.mock import Mock

import pytest

from reslab.data.pool import Hasher, cores, map_in_order


@pytest.mark.parametrize(("count", "expected"), [(6, 6), (None, 1)])
def test_where_nobody_says_what_may_be_used_all_cores_count(monkeypatch, count, expected):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert cores() == expected


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_have_the_order_of_the_items(jobs):
    """Later items are done first: each waits for the one behind it."""
    done = [threading.Event() for _ in range(jobs)]

    def work(n: int) -> int:
        if n < jobs - 1:
            assert done[n + 1].wait(30)
        if n < jobs:
            done[n].set()
        return n * n

    assert list(map_in_order(work, range(20), jobs)) == [n * n for n in range(20)]


def test_no_more_items_are_read_than_are_under_way():
    read = []
    items = (read.append(n) or n for n in range(1000))
    results = map_in_order(lambda n: n, items, 2)
    assert [next(results) for _ in range(10)] == list(range(10))
    assert len(read) <= 10 + 2 * 2 + 1
    results.close()
    assert len(read) <= 10 + 2 * 2 + 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_the_items_comes_after_what_was_read_before_it(jobs):
    def items():
        yield from range(4)
        raise ValueError("damaged")

    results = []
    with pytest.raises(ValueError, match="damaged"):
        iter_into(map_in_order(lambda n: n, items(), jobs), results)
    assert results == [0, 1, 2, 3]


@pytest.mark.parametrize("jobs", [1, 2])
def test_nothing_comes_after_an_error_of_the_function(jobs):
    def work(n: int) -> int:
        if n == 3:
            raise ValueError("no")
        return n

    results = []
    with pytest.raises(ValueError, match="no"):
        iter_into(map_in_order(work, range(9), jobs), results)
    assert results == [0, 1, 2]


def iter_into(iterator, results: list) -> None:
    """Append item by item, so that what came before an error is kept."""
    for item in iterator:
        results.append(item)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_stream_is_hashed_in_its_order(jobs):
    pieces = [bytes([n % 256]) * (n * 501) for n in range(60)]
    with Hasher(jobs) as digest:
        for piece in pieces:
            digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_pieces_that_wait_to_be_hashed_are_few(monkeypatch):
    waiting = threading.Semaphore(0)
    with Hasher(2) as digest:
        monkeypatch.setattr(digest, "_digest", Mock(update=lambda data: waiting.acquire()))
        for _ in range(Hasher.AHEAD):
            digest.update(b"x")
        later = threading.Thread(target=digest.update, args=(b"x",))
        later.start()
        later.join(0.05)
        assert later.is_alive()  # until the first is done
        for _ in range(Hasher.AHEAD + 1):
            waiting.release()
        later.join(10)
        assert not later.is_alive()
