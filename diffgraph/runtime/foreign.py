"""How much of the processors others use: what is timed meanwhile does not count."""

from __future__ import annotations

import os
import time

#: Processor seconds that are too few to be told from none: the system counts in ticks.
TICKS = 0.025


class Foreign:
    """What other processes have used since it was made."""

    def __init__(self):
        self._began, self._used, self._own = time.perf_counter(), _used(), _own()

    @property
    def share(self) -> float:
        """Processor seconds of others for each second that has passed; 0 where the system does not tell."""
        foreign = (_used() - self._used) - (_own() - self._own) - TICKS
        return foreign / (time.perf_counter() - self._began)


def _used() -> float:
    """Processor seconds that all processes have used; 0 where the system does not tell."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _, _, irq, soft, steal = map(int, file.readline().split()[1:9])
    except OSError:
        return 0.0
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    times = os.times()
    return times.user + times.system
