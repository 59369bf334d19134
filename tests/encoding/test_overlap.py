from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from colmodern.encoding.overlap import Prefetcher, WriteBehind


class Wrong(Exception):
    pass


def threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("colmodern-")} - {
        "colmodern-inbox"
    }


def test_ahead_gives_every_item_in_order_from_another_thread() -> None:
    def items() -> Iterator[tuple[int, str]]:
        for i in range(50):
            yield i, threading.current_thread().name

    with Prefetcher(items()) as ahead:
        taken = list(ahead)
    assert taken == [(i, "colmodern-ahead") for i in range(50)]


def test_ahead_makes_one_item_while_another_is_worked_on_and_waits_with_a_third() -> None:
    made, third = [], threading.Event()

    def items() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            if i == 2:
                third.set()
            yield i

    with Prefetcher(items()) as ahead:
        assert next(ahead) == 0
        assert third.wait(10)  # 1 is in the queue, 2 in its maker's hands
        assert made == [0, 1, 2]


def test_what_the_items_raise_is_raised_after_those_before_it() -> None:
    wrong = Wrong()

    def items() -> Iterator[int]:
        yield 1
        raise wrong

    seen: list[int] = []
    with pytest.raises(Wrong) as caught, Prefetcher(items()) as ahead:
        seen.extend(ahead)
    assert seen == [1]
    assert caught.value is wrong
    assert not threads()


def test_ahead_left_early_leaves_no_thread() -> None:
    def leave() -> None:
        with Prefetcher(iter(range(1000))) as ahead:
            next(ahead)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert not threads()


def test_cancel_wakes_items_that_wait() -> None:
    woken = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        woken.wait()

    with Prefetcher(items(), cancel=woken.set) as ahead:
        assert next(ahead) == 1
    assert not threads()


def test_behind_finishes_all_in_order_and_one_at_a_time() -> None:
    done: list[int] = []
    with WriteBehind(done.append) as behind:
        for i in range(50):
            behind.put(i)
            assert done[:i] == list(range(i))  # all before the last one put
    assert done == list(range(50))


def test_what_finish_raises_is_raised_and_nothing_is_finished_after_it() -> None:
    done, wrong = [], Wrong()

    def finish(item: int) -> None:
        if item == 2:
            raise wrong
        done.append(item)

    def put_all() -> None:
        with WriteBehind(finish) as behind:
            for item in range(10):
                behind.put(item)

    with pytest.raises(Wrong) as caught:
        put_all()
    assert caught.value is wrong
    assert done == [0, 1]
    with pytest.raises(Wrong), WriteBehind(finish) as behind:
        behind.put(2)
    assert not threads()


def test_a_failing_block_finishes_what_it_put_and_keeps_its_own_error() -> None:
    done: list[int] = []

    def fail(finish: Callable[[int], object]) -> None:
        with WriteBehind(finish) as behind:
            behind.put(1)
            raise KeyboardInterrupt

    def finish(item: int) -> None:
        raise Wrong

    with pytest.raises(KeyboardInterrupt):
        fail(done.append)
    assert done == [1]
    with pytest.raises(KeyboardInterrupt):
        fail(finish)
    assert not threads()
