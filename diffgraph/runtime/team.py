"""Threads that run kernels together with the one that called.

Workers are Python threads inside a native function that watches a mailbox, without the interpreter's lock. One that has
not been needed for a while goes to sleep and is woken by the next job.
"""

from __future__ import annotations

import ctypes
import os
import threading

import numpy as np

from diffgraph.targets.cpu.rows import LEVELS, MAILBOX


def available_threads() -> int:
    """How many threads this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Team:
    """The workers of this process. One run at a time."""

    def __init__(self, serve: int):
        self._serve = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(serve)
        self.mailboxes = np.zeros(MAILBOX * 257, np.int64)
        self.counters = np.zeros(LEVELS * 257, np.int64)
        self.barrier = np.zeros(16, np.int64)
        self.lock = threading.Lock()
        self._beds: list[_Bed] = []
        self._process = os.getpid()

    def summon(self, threads: int) -> None:
        """Makes sure that workers 1 .. threads - 1 watch their mailboxes, until they are dismissed."""
        if self._process != os.getpid():
            # Threads do not survive a fork.
            self._process, self._beds = os.getpid(), []
            self.mailboxes[:] = 0
        while len(self._beds) < threads - 1:
            self._hire()
        for bed in self._beds[: threads - 1]:
            bed.wanted = True
            if bed.asleep:
                bed.wake()

    def dismiss(self) -> None:
        """Lets the workers sleep when they have waited for long."""
        for bed in self._beds:
            bed.wanted = False

    def _hire(self) -> None:
        bed = _Bed()
        self._beds.append(bed)
        work = threading.Thread(target=self._work, args=(bed, len(self._beds)), daemon=True, name="diffgraph worker")
        work.start()

    def _work(self, bed: _Bed, number: int) -> None:
        box = self.mailboxes.ctypes.data + 8 * MAILBOX * number
        done = 0
        while True:
            done = self._serve(box, done, number)
            bed.sleep()


class _Bed:
    """Where one worker sleeps.

    Who wants a worker says so before looking whether it sleeps; the worker says that it sleeps before looking whether it is
    wanted. So one of them sees the other, and no job waits for a sleeper.
    """

    def __init__(self):
        self._condition = threading.Condition()
        self.asleep = False
        self.wanted = False

    def sleep(self) -> None:
        """Sleeps until woken; not at all while wanted."""
        with self._condition:
            self.asleep = True
            self._condition.wait_for(lambda: self.wanted)
            self.asleep = False

    def wake(self) -> None:
        """Ends the sleep of a worker that is wanted."""
        with self._condition:
            self._condition.notify()
