"""Interruptions that wait until a step is done."""

from __future__ import annotations

import signal
import threading


class Interruption:
    """While open, the first SIGINT or SIGTERM is only remembered in `asked`; a second one acts as it always does.

    In another thread than the main one, where signals cannot be caught, it does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in self.SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def _remember(self, number, frame) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
