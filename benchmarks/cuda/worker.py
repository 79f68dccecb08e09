"""A process that checks and measures workloads on a device, one after the other (`desk` is what it does).

It reads lines of JSON, `{"name": ..., "seconds": ...}`, and answers each with a line on a pipe of its own; what it prints is
for people. A kernel that goes astray leaves its process without a device, and may never end: so the process that asks
gives it up, and starts another for the next workload.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

#: What is asked for instead of a workload: the limits of the device.
LIMITS = "limits"


class Clock:
    """How much of some seconds is left."""

    def __init__(self, seconds: float):
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


class Worker:
    """The process, for the one that asks."""

    def __init__(self, precision: str, rounds: int, dry: bool):
        self._answers, theirs = os.pipe()
        command = [sys.executable, "-m", "benchmarks.cuda.desk", precision, str(rounds), str(int(dry)), str(theirs)]
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        environment = os.environ | {"PYTHONPATH": path}
        self._process = subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, pass_fds=(theirs,), env=environment)
        os.close(theirs)
        self._lines = os.fdopen(self._answers)

    def ask(self, name: str, seconds: float) -> dict:
        """What is found of a workload; {"failed": why} if nothing is after so many seconds, or the process is gone."""
        late = threading.Event()
        timer = threading.Timer(seconds, lambda: (late.set(), self._process.kill()))
        timer.start()
        try:
            self._process.stdin.write(json.dumps({"name": name, "seconds": seconds}).encode() + b"\n")
            line = self._lines.readline()
        except OSError:
            line = ""
        finally:
            timer.cancel()
        if line:
            return json.loads(line)
        if late.is_set():
            return {"failed": f"it took more than {seconds:.0f} seconds"}
        return {"failed": f"its process ended with status {self._process.wait()}"}

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._lines.close()
