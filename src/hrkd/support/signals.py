"""Interrupts and terminations that wait until what must not be cut in two is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["signals_held"]

HELD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_held(*, once: bool = False) -> Iterator[list[int]]:
    """Let SIGINT and SIGTERM wait; gives the list of those that came, which are sent anew when the block ends.

    Only in the main thread, where signals come, and for those that are not ignored.

    Args:
        once: a second signal does not wait: it comes at once, as if nothing were held.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    handlers = {each: signal.getsignal(each) for each in HELD}
    before = {each: handler for each, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

    def put_back() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)
        if once and len(came) > 1:
            came.clear()
            put_back()
            signal.raise_signal(number)

    for each in before:
        signal.signal(each, note)
    try:
        yield came
    finally:
        put_back()
        for number in dict.fromkeys(came):
            signal.raise_signal(number)
