"""A process that checks and measures workloads on a device, one after the other: `python -m benchmarks.cuda.worker`.

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

#: Of its time, what the checks of a workload may take, and its measuring together with them.
CHECKS, MEASURED = 0.4, 0.8


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
        command = [sys.executable, "-m", "benchmarks.cuda.worker", precision, str(rounds), str(int(dry)), str(theirs)]
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        environment = os.environ | {"PYTHONPATH": path}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(theirs,), env=environment)
        os.close(theirs)
        self._lines = os.fdopen(self._answers)

    def ask(self, name: str, seconds: float) -> dict:
        """What is found of a workload; {"failed": why} if nothing is after so many seconds, or the process is gone."""
        late = threading.Event()
        timer = threading.Timer(seconds, lambda: (late.set(), self._process.kill()))
        timer.start()
        try:
            self._process.stdin.write(json.dumps({"name": name, "seconds": seconds}).encode() + b"\n")
            self._process.stdin.flush()
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


class Desk:
    """What the process does with a question."""

    def __init__(self, precision: str, rounds: int, dry: bool):
        from benchmarks.cuda.limits import Machine
        from diffgraph.runtime import device
        from diffgraph.targets.cuda.driver import CudaDriver
        from diffgraph.targets.cuda.simulated import SimulatedDriver

        self.precision, self.rounds, self.dry = precision, rounds, dry
        self.driver = SimulatedDriver() if dry else CudaDriver()
        device.use(self.driver)
        self.machine = Machine.of(self.driver)

    def answer(self, name: str, seconds: float) -> dict:
        """What is found; a failure as what it says."""
        try:
            return self._limits() if name == LIMITS else self._workload(name, seconds)
        except Exception as problem:
            return {"failed": f"{type(problem).__name__}: {' '.join(str(problem).split())[:500]}"}

    def _limits(self) -> dict:
        from benchmarks.cuda import limits, timing

        print(self.machine.describe(self.precision), flush=True)
        rows = []
        for row in limits.measured(self.driver, self.machine, self.precision, self.dry):
            print(row.describe(), flush=True)
            rows.append(row.as_json())
        print(timing.HEAD, flush=True)
        return {"device": self.machine.name, "limits": rows}

    def _workload(self, name: str, seconds: float) -> dict:
        from benchmarks.cuda import checks, timing
        from benchmarks.workloads import WORKLOADS

        work = next(w for w in WORKLOADS if w.name == name)
        work = timing.tiny(work) if self.dry else work
        checked, measured = Clock(CHECKS * seconds), Clock(MEASURED * seconds)
        wrong = checks.report(work, self.precision, checked)
        row = timing.measured(work, self.precision, self.rounds, self.machine, measured, self.dry)
        print(row.describe(), flush=True)
        return {"row": row.as_json(), "wrong": wrong + ([name] if row.is_wrong else [])}


def main() -> None:
    """Answers until the input ends."""
    precision, rounds, dry, answers = sys.argv[1:]
    desk = None
    with os.fdopen(int(answers), "w") as lines:
        for question in sys.stdin:
            try:
                desk = desk or Desk(precision, int(rounds), dry == "1")
                found = desk.answer(**json.loads(question))
            except Exception as problem:
                found = {"failed": f"{type(problem).__name__}: {problem}"}
            lines.write(json.dumps(found) + "\n")
            lines.flush()


if __name__ == "__main__":
    main()
