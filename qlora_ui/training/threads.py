"""Work that may hang in the network, in threads that do not keep a stopped process from ending."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import TypeVar

from qlora_ui.errors import Stopped
from qlora_ui.training.progress import Stop

POLL = 0.1  # seconds between two looks at `stop`

T = TypeVar("T")


def apart(work: Callable[[], T], stop: Stop) -> T:
    """The result of `work`, done in a thread of its own. Raises Stopped, whatever the network does."""
    future = start(work)
    wait_for([future], stop)
    return future.result()


def start(work: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def wait_for(futures: Iterable[Future[T]], stop: Stop, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Until all are done. Raises the first error of one of them; Stopped."""
    left = set(futures)
    while left:
        if stop():
            raise Stopped
        meanwhile()
        done, left = wait(left, POLL, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
