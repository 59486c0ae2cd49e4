"""Reading and decoding ahead, so that the model never waits for a picture: order and memory stay what they were.

    for row, image in in_order(judged_bytes, fetched(pictures(part), 8), threads=8, most=8): ...

`fetched` runs an iterator in a thread of its own (a tar is read as a stream); `in_order` works on the next few items
in several threads (stores and picture decoders let the interpreter go) and gives the results in the order of the items.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
PATIENCE = 0.1  # seconds after which a thread that nobody listens to looks whether it is still wanted


def fetched(items: Iterable[Item], most: int) -> Generator[Item, None, None]:
    """The same items, taken by a thread while the caller is at work.

    Args:
        most: items that may wait.

    Raises:
        What `items` raises, after the items before it.
    """
    waiting: queue.Queue[tuple[bool, Item | BaseException | None]] = queue.Queue(most)
    unwanted = threading.Event()

    def put(entry: tuple[bool, Item | BaseException | None]) -> None:
        while not unwanted.is_set():
            try:
                return waiting.put(entry, timeout=PATIENCE)
            except queue.Full:
                continue

    def take() -> None:
        try:
            for item in items:
                put((True, item))
                if unwanted.is_set():
                    return
            put((False, None))
        except BaseException as error:  # told to the caller, who is in another thread
            put((False, error))

    try:
        threading.Thread(target=take, name="fetching", daemon=True).start()
        while True:
            more, item = waiting.get()
            if not more:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]
    finally:
        unwanted.set()


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, most: int
) -> Generator[Result, None, None]:
    """`work(item)` of every item, in their order, up to `most` of them done or under way ahead of the caller.

    Raises:
        What `work` raises, after the results before it; what `items` raises, at once.
    """
    under_way: deque[AsyncResult[Result]] = deque()
    pool = ThreadPool(threads)  # its threads hold up nobody's exit, as an executor's do while a store is silent
    try:
        for item in items:
            under_way.append(pool.apply_async(work, (item,)))
            if len(under_way) > most:
                yield under_way.popleft().get()
        while under_way:
            yield under_way.popleft().get()
    finally:
        pool.terminate()
