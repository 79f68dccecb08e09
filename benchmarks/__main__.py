"""Every workload of the table against every peer that is installed.

    python -m benchmarks [WORKLOAD...] [--peers torch,jax,onnxruntime] [--rounds K] [--json FILE] [--threads 2]
    python -m benchmarks --target cuda [WORKLOAD...] [--precision f32|tf32|bf16]         on a machine with a GPU

A workload may be named by its beginning. For each: our time, that of every configuration of every peer, the ratio to
the fastest, the part of the machine's limit that we reach, peak memory.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import cuda, measure, memory, report, start
from benchmarks.workloads import WORKLOADS, Workload, named
from diffgraph.inspect.turns import Effort

PEERS = {"torch": "torch", "jax": "jax", "onnxruntime": "onnx"}


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Every workload against every peer.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="names or their beginnings; all by default")
    parser.add_argument("--peers", default=",".join(PEERS), help="some of torch,jax,onnxruntime; `none` for none")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every configuration")
    parser.add_argument("--seconds", type=float, default=0.2, help="how long a turn is")
    parser.add_argument("--retries", type=int, default=5, help="how often a turn that others disturbed is taken again")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--together", type=int, default=1, help="workloads that are made ready before one is timed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results; those of other workloads stay")
    parser.add_argument(
        "--lock", type=Path, action="append", default=[], help="a lock to hold, exclusively while timing"
    )
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--list", action="store_true", help="print the table")
    found = parser.parse_args(given)
    try:
        found.chosen = named(tuple(found.workloads))
    except KeyError as problem:
        parser.error(f"no workload is named {problem}; there are: {', '.join(w.name for w in WORKLOADS)}")
    wanted = [] if found.peers == "none" else found.peers.split(",")
    for peer in wanted:
        if peer not in PEERS:
            parser.error(f"no peer is named {peer}; there are: {', '.join(PEERS)}")
    found.sides = [PEERS[peer] for peer in wanted if _is_there(peer)]
    return found


def _is_there(peer: str) -> bool:
    if importlib.util.find_spec(peer) is None:
        print(f"{peer} is not installed: left out", flush=True)
        return False
    return True


def versions() -> dict[str, str]:
    """Of everything that takes part."""
    found = {"python": sys.version.split()[0]}
    for name in ("diffgraph", "numpy", "numba", "llvmlite", "torch", "jax", "jaxlib", "onnxruntime"):
        if importlib.util.find_spec(name) is not None:
            found[name] = importlib.metadata.version(name)
    return found


def main(given: list[str] | None = None) -> None:
    """Measures, prints, writes."""
    words = sys.argv[1:] if given is None else given
    if words[:2] == ["--target", "cuda"]:
        cuda.main(words[2:])
        return
    asked = arguments(given)
    if asked.list:
        for work in WORKLOADS:
            print(f"{work.name:18} {work.title}")
        return
    machine = report.machine(asked.threads, asked.lock)
    print(report.heading(machine, versions()), flush=True)
    rows = []
    effort = Effort(asked.rounds, asked.seconds, asked.retries, tuple(asked.lock))
    with tempfile.TemporaryDirectory() as folder:
        for works in _groups(asked.chosen, asked.together):
            for row in _rows(works, asked, effort, machine, Path(folder)):
                rows.append(row)
                print(report.text(row), flush=True)
                if asked.json:
                    report.write(asked.json, machine, versions(), rows)


def _groups(works: Sequence[Workload], size: int) -> list[tuple[Workload, ...]]:
    """The workloads that are made ready together; starts of processes stand alone."""
    steps = [w for w in works if w.kind != "start"]
    groups = [tuple(steps[at : at + size]) for at in range(0, len(steps), size)]
    return [*groups, *((w,) for w in works if w.kind == "start")]


def _rows(works, asked, effort: Effort, machine, folder: Path) -> Iterator[dict]:
    if works[0].kind == "start":
        yield start.measure(works[0], asked.sides, asked.threads, folder, asked.lock)
        return
    found = measure.compare(works, asked.sides, asked.threads, effort, folder)
    for work, results in zip(works, found):
        used = {} if asked.no_memory else memory.compare(work, asked.sides, asked.threads, folder, asked.lock)
        yield report.row(work, results, used, machine)


if __name__ == "__main__":
    main()
