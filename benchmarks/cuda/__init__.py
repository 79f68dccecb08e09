"""The CUDA target on a GPU machine: `python -m benchmarks --target cuda [WORKLOAD...] [--precision f32|tf32|bf16]`.

    1. what the device does at most: memory, products
    2. of each workload: every kernel on fresh inputs, beside float64 on the host; then the whole, beside PyTorch on the same
       device, eager, compiled and as a captured graph, at equal precision

It needs a GPU, the extra `cuda` and, to compare, PyTorch with CUDA; it stops by itself when its minutes are over, and says
what was left out. Each workload is done by a process that is given up when it fails or takes too long (`worker`), so that
what one does to the device is not the others' trouble. What is found is written as it is found. `--dry-run` goes the same
way on a simulated device with tiny batches: what it prints then means nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.cuda import checks
from benchmarks.cuda.worker import LIMITS, Worker
from benchmarks.workloads import named
from diffgraph.diagnostics import DiffgraphError
from diffgraph.targets.cuda.driver import CudaDriver

#: Seconds that a workload may take if its share of the time that is left is less.
LEAST = 20


def arguments(given: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m benchmarks --target cuda")
    parser.add_argument("workloads", nargs="*", help="names or their beginnings; all by default")
    parser.add_argument("--precision", choices=sorted(checks.TOLERANCE), default="f32")
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured, as it is measured")
    parser.add_argument("--dry-run", action="store_true", help="on a simulated device, with tiny batches")
    return parser.parse_args(given)


def main(given: list[str]) -> None:
    """Checks, measures, prints; exit status 1 if a number is wrong or a workload failed, 2 if there is no device."""
    asked = arguments(given)
    if not asked.dry_run:
        try:
            CudaDriver()
        except DiffgraphError as problem:
            print(problem, file=sys.stderr)
            raise SystemExit(2) from None
    found = _measure(asked, time.monotonic() + 60 * asked.minutes)
    if found["wrong"] or found["failed"]:
        raise SystemExit(1)


def _measure(asked: argparse.Namespace, end: float) -> dict:
    """Every workload in turn: each may take twice its share of the time that is left."""
    names = [LIMITS, *(w.name for w in named(tuple(asked.workloads)) if w.kind != "start")]
    found = {"device": None, "precision": asked.precision, "limits": [], "workloads": [], "wrong": [], "failed": {}}
    worker = None
    try:
        for number, name in enumerate(names):
            left = end - time.monotonic()
            if left < LEAST / 2:
                print(f"{name:20} left out: the time is over", flush=True)
                found["failed"][name] = "left out: the time is over"
                continue
            share = min(left, max(LEAST, 2 * left / (len(names) - number)))
            worker = worker or Worker(asked.precision, asked.rounds, asked.dry_run)
            answer = worker.ask(name, share)
            worker = _noted(found, name, answer, worker)
            if asked.json is not None:
                _write(asked.json, found)
    finally:
        if worker is not None:
            worker.end()
    return found


def _noted(found: dict, name: str, answer: dict, worker: Worker) -> Worker | None:
    """Adds what was found; the worker, if it can go on."""
    found["device"] = answer.get("device", found["device"])
    found["limits"] += answer.get("limits", [])
    found["workloads"] += [answer["row"]] if "row" in answer else []
    found["wrong"] += answer.get("wrong", [])
    if "failed" not in answer:
        return worker
    found["failed"][name] = answer["failed"]
    print(f"{name:20} FAILED: {answer['failed']}", flush=True)
    worker.end()
    return None


def _write(path: Path, found: dict) -> None:
    """A file that is whole at any time."""
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(found, indent=1))
    aside.replace(path)
