"""Batches are made in a thread of their own while the model trains on those before."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    """The end of the items, or the error that ended them."""

    error: BaseException | None = None


def prefetch(items: Iterator[T], capacity: int = 4) -> Generator[T, None, None]:
    """Yield items in order while a thread makes up to `capacity` of the next ones.

    An error of the thread is raised here, in its turn. The thread ends with this generator: close
    it, or let it be collected, to stop early.
    """
    queue: Queue[T | _End] = Queue(capacity)
    stop = Event()

    def put(item: T | _End) -> bool:
        while not stop.is_set():
            try:
                queue.put(item, timeout=0.2)
            except Full:
                continue
            return True
        return False

    def work() -> None:
        end = _End()
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:
            end = _End(error)
        put(end)

    thread = Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        thread.join()
