"""What a process does that checks and measures workloads on a device: `python -m benchmarks.cuda.desk`, see `worker`."""

from __future__ import annotations

import json
import os
import sys

from benchmarks.cuda.worker import LIMITS, Clock

#: Of its time, what the checks of a workload may take, and its measuring together with them.
CHECKS, MEASURED = 0.4, 0.8


class Desk:
    """What the process does with a question."""

    def __init__(self, precision: str, rounds: int, dry: bool):
        from diffgraph.runtime import device
        from diffgraph.targets.cuda.driver import CudaDriver
        from diffgraph.targets.cuda.machine import Machine
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
