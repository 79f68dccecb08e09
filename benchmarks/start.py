"""From a new process to the first result: with nothing compiled before, and again."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.workloads import Workload, named
from diffgraph.inspect.turns import held

#: Second starts, of which the median is taken.
STARTS = 3


def measure(work: Workload, sides: Sequence[str], threads: int, folder: Path, locks: Sequence[Path]) -> dict[str, Any]:
    """The seconds of cold and second starts of each side, the start of Python included."""
    starts = {}
    for name in ("ours", "torch eager", "torch compile", "onnxruntime"):
        side = {"ours": "ours", "onnxruntime": "onnx"}.get(name, "torch")
        if side != "ours" and side not in sides:
            continue
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            environment = {
                **os.environ,
                "DIFFGRAPH_CACHE": f"{cache}/ours",
                "TORCHINDUCTOR_CACHE_DIR": f"{cache}/torch",
            }
            arguments = (work.name, name, str(threads), str(folder))
            with held(locks, shared=True):
                _run(("prepare", *arguments), environment)
            with held(locks):
                cold = _run(("first", *arguments), environment)
                again = sorted(_run(("first", *arguments), environment) for _ in range(STARTS))
            starts[name] = {"cold": cold, "second": again[STARTS // 2]}
    goals = [{"rival": g.rival, "must": g.must, "aim": g.aim} for g in work.goals]
    return {"name": work.name, "title": work.title, "kind": work.kind, "starts": starts, "goals": goals}


def _run(arguments: tuple[str, ...], environment) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "benchmarks.start", *arguments], env=environment, check=True)
    return time.perf_counter() - begin


def first(name: str, side: str, threads: int, folder: Path) -> None:
    """Computes one result in this process."""
    (work,) = named((name,))
    if side == "ours":
        from benchmarks.samples import samples
        from benchmarks.sides.ours import net_of

        net_of(work, threads)(**samples(work))
        return
    if side == "onnxruntime":
        from benchmarks.samples import samples
        from benchmarks.sides.onnx import session

        session(folder / f"{name}.onnx", threads).run(None, samples(work))
        return
    from benchmarks.sides.torch import started

    started(work, threads, compiled=side.endswith("compile"))


def prepare(name: str, side: str, threads: int, folder: Path) -> None:
    """Writes what a side starts from."""
    if side == "onnxruntime":
        from benchmarks.samples import write_arrays
        from benchmarks.sides.onnx import export
        from benchmarks.sides.ours import net_of

        (work,) = named((name,))
        net = net_of(work, threads)
        arrays = folder / f"{name}-start.npz"
        write_arrays(arrays, list(net.parameters.values()), list(net.state.values()))
        export(work, arrays, folder / f"{name}.onnx")


if __name__ == "__main__":
    what, name, side, threads, folder = sys.argv[1:]
    {"first": first, "prepare": prepare}[what](name, side, int(threads), Path(folder))
