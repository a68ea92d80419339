"""Batches made while the model works on those before."""

from collections.abc import Iterator
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterator[T], most: int = 4) -> Iterator[T]:
    """Yield what a thread makes, at most so many ahead; the thread ends with the reader."""
    queue: Queue[T | BaseException] = Queue(most)
    stop = Event()

    def put(item: T | BaseException) -> None:
        while not stop.is_set():
            try:
                queue.put(item, timeout=0.2)
                return
            except Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
        except BaseException as error:  # raised again where they are used
            put(error)

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item = queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
