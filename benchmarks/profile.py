"""Where our time goes in workloads: `python -m benchmarks.profile [WORKLOAD...] [-o DIR] [--threads 2]`.

A file for each: every kernel with its multiply-adds and bytes, the part of the machine's limit that it reaches, and the
layers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.samples import samples
from benchmarks.sides import ours
from benchmarks.workloads import Workload, named
from diffgraph.inspect.turns import held
from diffgraph.inspect.profile import kernel_table, kernel_times, layer_table
from diffgraph.language.step import training_network
from diffgraph.runtime.limits import Limits, measure
from diffgraph.runtime.profile import profile
from diffgraph.runtime.storage import Storage
from diffgraph.training.initial import initial_values


def executable_of(work: Workload, threads: int):
    """(executable, inputs, whether a step commits) of a workload."""
    net = ours.net_of(work, threads)
    columns = {name: column[: work.batch] for name, column in samples(work).items()}
    net.fix(columns)
    if work.kind in ("infer", "start"):
        return net.inference_executable(), columns, False
    if work.kind == "gradient":
        executable = net.executable(net.gradient([*net.parameters, next(iter(columns))]))
        executable.bind(net.storage)
        return executable, {n: c for n, c in columns.items() if n in executable.given}, False
    plan = net.plan(batch=work.batch, steps=10**6)
    network = training_network(plan, sizes=dict(net.sizes))
    executable = net.executable(network.program)
    executable.bind(Storage.of({**initial_values(network.initial, 0, net.precision), **net.storage}))
    scalars = {"seed": 0, "step": 1, "total_steps": 10**6}
    given = {**columns, **{n: np.int64(v) for n, v in scalars.items()}}
    return executable, {n: a for n, a in given.items() if n in executable.given}, True


def text(work: Workload, threads: int, limits: Limits, repeats: int, locks=()) -> str:
    """The profile of a workload."""
    executable, inputs, commit = executable_of(work, threads)
    with held(locks):
        found = profile(executable, inputs, commit, repeats)
    times = kernel_times(found, limits, "f32")
    least = sum(t.least for t in times)
    head = (
        f"{work.title} ({work.name}): {found.seconds * 1e3:.3f} ms, "
        f"{len(times)} kernels, arena {found.arena / 1e6:.1f} MB\n"
        f"limits: {limits.flops / 1e9:.0f} GFLOP/s, {limits.bandwidth / 1e9:.0f} GB/s; all kernels at theirs: "
        f"{least * 1e3:.3f} ms ({least / found.seconds:.0%})"
    )
    return "\n\n".join([head, kernel_table(times), layer_table(times)]) + "\n"


def main() -> None:
    """Writes the files, or prints."""
    parser = argparse.ArgumentParser("python -m benchmarks.profile")
    parser.add_argument("workloads", nargs="*")
    parser.add_argument("-o", type=Path, metavar="DIR")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--lock", type=Path, action="append", default=[])
    asked = parser.parse_args()
    with held(asked.lock):
        limits = measure(asked.threads)
    for work in named(tuple(asked.workloads)):
        found = text(work, asked.threads, limits, asked.repeats, asked.lock)
        if asked.o is None:
            print(found, flush=True)
            continue
        asked.o.mkdir(parents=True, exist_ok=True)
        (asked.o / f"{work.name}.txt").write_text(found)
        print(found.splitlines()[0], flush=True)


if __name__ == "__main__":
    main()
