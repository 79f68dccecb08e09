"""diffgraph."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.samples import COMPARED, samples, write_arrays
from benchmarks.workloads import Workload
from diffgraph.inspect.turns import Configuration, Prepared

ROOT = Path(__file__).resolve().parents[2]


def net_of(work: Workload, threads: int):
    """The net of a workload."""
    from diffgraph.compiler import Net
    from diffgraph.language.module import load_text

    path = ROOT / work.file
    text = path.read_text() + "\n" + work.train
    return Net(
        load_text(text, path.name, path.parent), work.net, train="bench" if work.train else None, threads=threads
    )


def configurations(work: Workload, threads: int, arrays: Path) -> list[Configuration]:
    """One: the compiled program. Making it writes the initial values to `arrays`."""
    make = {"train": _training, "infer": _inference, "gradient": _gradient}[work.kind]
    return [Configuration("diffgraph", lambda: make(work, net_of(work, threads), arrays))]


def _keep(net, arrays: Path) -> None:
    write_arrays(arrays, list(net.parameters.values()), list(net.state.values()))


def _training(work: Workload, net, arrays: Path) -> Prepared:
    from diffgraph.training.assembly import assemble
    from diffgraph.training.data.dataset import Dataset

    _keep(net, arrays)
    columns = samples(work)
    run = assemble(net, net.plan(batch=work.batch, steps=10**6), Dataset("random", columns))
    order = np.arange(len(next(iter(columns.values())))).reshape(-1, work.batch)
    evidence = np.asarray(run.steps.advance(order[:COMPARED], 1))
    order = order[: work.steps]
    taken = [COMPARED]

    def steps() -> None:
        run.steps.advance(order, taken[0] + 1)
        taken[0] += work.steps

    return Prepared(steps, evidence)


def _inference(work: Workload, net, arrays: Path) -> Prepared:
    columns = samples(work)
    net.fix(columns)
    _spread(net, columns)
    _keep(net, arrays)
    step = net.inference_executable().stepper(columns)
    return Prepared(step, next(iter(step().values())))


def _spread(net, columns) -> None:
    """Scales the last matrix of weights until the classes are neither alike nor decided: then outputs tell more."""
    matrices = [a for a in net.parameters.values() if a.ndim >= 2]
    for _ in range(20 if matrices else 0):
        high = next(iter(net(**columns).values())).max(axis=-1).mean()
        if 0.01 < high < 0.5:
            return
        matrices[-1][...] *= 0.3 if high >= 0.5 else 2


def _gradient(work: Workload, net, arrays: Path) -> Prepared:
    columns = samples(work)
    net.fix(columns)
    _keep(net, arrays)
    wrt = [*net.parameters, next(iter(columns))]
    executable = net.executable(net.gradient(wrt))
    executable.bind(net.storage)
    step = executable.stepper({p: a for p, a in columns.items() if p in executable.given})
    found = step()
    losses = [float(found[term.name]) for term in net.network(True).losses]
    norms = [np.linalg.norm(found[path].astype(np.float64)) for path in wrt]
    return Prepared(step, np.array(losses + norms))


def cost(work: Workload) -> tuple[int, int]:
    """(multiply-adds, bytes that must move through memory) of a step. Of the program as it is written and as it is
    after the passes, the one with fewer multiply-adds counts."""
    from diffgraph.inspect.counts import macs, traffic
    from diffgraph.language.step import training_network

    net = net_of(work, 1)
    net.fix(samples(work))
    if work.kind == "train":
        program = training_network(net.plan(batch=work.batch, steps=1), sizes=dict(net.sizes)).program
    elif work.kind == "gradient":
        program = net.gradient([*net.parameters, next(iter(work.columns))])
    else:
        program = net.forward([o.name for o in net.network().outputs])
    sizes = {net.network().batch: work.batch}
    counted = min(int(macs(p, sizes)) for p in (program, net.optimized(program)))
    return counted, int(traffic(program, sizes))


def warm_up() -> None:
    """Loads what any net needs, so that memory can be measured from there on."""
    from diffgraph.compiler import loads

    loads("net tiny { input x[N, 4]; output relu(x) }")(x=np.zeros((2, 4), np.float32))
