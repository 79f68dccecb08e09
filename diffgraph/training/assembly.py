"""From a plan, a net and a data set to a run: which program makes a step, on which arrays, evaluated on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.ir.program import Program
from diffgraph.language.blocks import TrainPlan
from diffgraph.language.network import Network
from diffgraph.language.step import loss_network, training_network
from diffgraph.passes.select import select
from diffgraph.runtime.executable import Executable
from diffgraph.runtime.storage import Storage
from diffgraph.runtime.values import DTYPES, plain
from diffgraph.training.data.dataset import Dataset, check
from diffgraph.training.data.slots import fill, slots_of
from diffgraph.training.data.sources import load
from diffgraph.training.data.tables import read_file
from diffgraph.training.evaluation import Evaluation
from diffgraph.training.initial import initial_values
from diffgraph.training.loop import EVALUATIONS, Run
from diffgraph.training.order import batches_per_epoch
from diffgraph.training.steps import Descent, QuasiNewton, Steps

#: What a train block that is silent about it means.
DEFAULT_BATCH, DEFAULT_EPOCHS = 32, 10

#: How `language.step` calls the outputs that are gradients, and the states that are averages of parameters.
GRADIENT, AVERAGE = "gradient of ", ".average"


class Compiled(Protocol):
    """What is needed of a net: see `compiler.Net`."""

    precision: str
    sizes: Mapping[str, int]
    storage: Storage
    declared: Network

    def network(self, training: bool = False) -> Network: ...
    def forward(self, outputs: Sequence[str], training: bool = False) -> Program: ...
    def executable(self, program: Program, sizes: Mapping[str, int] | None = None) -> Executable: ...
    def set_sizes(self, sizes: Mapping[str, int]) -> None: ...


@dataclass(frozen=True)
class Length:
    """How long a run is: samples in a batch, steps in all, epochs between two evaluations."""

    batch: int
    total: int
    every: int


def dataset_of(plan: TrainPlan, given, held_out, net: Compiled, folder: Path) -> Dataset:
    """The data set of a run: what was given from Python (arrays in order, a mapping by name, the path of an .npz or .csv
    file, a `Dataset`), else the source that the plan names. A net without inputs and targets needs none."""
    if given is None:
        if plan.data is None:
            if not slots_of(net.declared):
                return Dataset("nothing", {})
            raise error("DG721", "there is nothing to train on", help="write `data ...` in the train block")
        return load(plan.data, folder)
    if isinstance(given, Path):
        given = read_file(given)
    if isinstance(given, Dataset):
        return given if held_out is None else replace(given, test=_columns(held_out, net))
    columns = _columns(given, net)
    test = None if held_out is None else _columns(held_out, net)
    return check(Dataset("data", columns, test))


def _columns(given, net: Compiled) -> dict[str, np.ndarray]:
    if isinstance(given, Mapping):
        return {str(name): plain(values, f"column `{name}`") for name, values in given.items()}
    names = [s.name for s in slots_of(net.network())]
    if len(names) == 1 and not isinstance(given, (tuple, list)) and hasattr(given, "__array__"):
        given = (given,)
    if not isinstance(given, (tuple, list)) or len(given) != len(names):
        order = f"{len(names)} arrays in the order {', '.join(names)}" if len(names) > 1 else f"one array, {names[0]}"
        raise error("DG722", f"data is {order}, or a mapping by name")
    return {name: plain(values, f"column `{name}`") for name, values in zip(names, given)}


def fill_net(net: Compiled, dataset: Dataset) -> tuple[dict, dict | None]:
    """(training arrays, held-out arrays or None) by input; symbols that the data decide are fixed in the net."""
    network = net.declared
    train, test, sizes = fill(dataset, slots_of(network), DTYPES[net.precision]["float"])
    sizes.pop(network.batch, None)
    net.set_sizes({**net.sizes, **sizes})
    return train, test


def assemble(net: Compiled, plan: TrainPlan, dataset: Dataset) -> Run:
    """A run at its beginning, from the weights that the net has now."""
    train, test = fill_net(net, dataset)
    network = net.network()
    samples = samples_of(network, train)
    length = _length(plan, network, samples)
    scalars = {"seed": plan.seed, "total_steps": length.total}
    sizes = {} if network.batch is None else {network.batch: length.batch}
    steps, storage = (_quasi_newton if plan.lbfgs is not None else _descent)(net, plan, train, scalars, sizes)
    weights = _evaluated(net, plan, storage)
    stop = plan.stop_early or {}
    return Run(
        steps=steps,
        samples=samples,
        batch=length.batch,
        total=length.total,
        seed=plan.seed,
        storage=storage,
        weights=lambda: weights,
        evaluate=_evaluation(net, weights, train if test is None else test),
        on="held out" if test is not None else "training",
        every=length.every,
        patience=None if "patience" not in stop else int(stop["patience"]),
        least=float(stop.get("least", 0.0)),
    )


def _length(plan: TrainPlan, network: Network, samples: int) -> Length:
    if network.batch is None and plan.batch is not None:
        raise error(
            "DG723", f"the net `{network.name}` has no batch: its data are one whole sample", plan.batch_span,
            help="leave `batch` out",
        )  # fmt: skip
    wanted = plan.batch or (samples if plan.lbfgs is not None else DEFAULT_BATCH)
    batch = min(wanted, samples)
    per_epoch = batches_per_epoch(samples, batch)
    if plan.steps is None:
        return Length(batch, (plan.epochs or DEFAULT_EPOCHS) * per_epoch, 1)
    epochs = -(-plan.steps // per_epoch)
    return Length(batch, plan.steps, max(1, epochs // EVALUATIONS))


def _descent(net: Compiled, plan: TrainPlan, columns, scalars, sizes) -> tuple[Steps, Storage]:
    """Steps by the optimizers of the plan; the storage has their states and the averages beside the net's own
    arrays."""
    network = training_network(plan, sizes=dict(net.sizes))
    more = [o.name for o in network.initial.outputs if o.name not in net.storage]
    storage = net.storage.extended(initial_values(select(network.initial, more), plan.seed, net.precision))
    for path in more:
        if _is_average(path, storage):
            storage[path][...] = storage[path.removesuffix(AVERAGE)]
    executable = net.executable(network.program, sizes)
    executable.bind(storage)
    return Descent(executable, columns, [term.name for term in network.losses], scalars), storage


def _is_average(path: str, storage: Mapping[str, np.ndarray]) -> bool:
    return path.endswith(AVERAGE) and path.removesuffix(AVERAGE) in storage


def _quasi_newton(net: Compiled, plan: TrainPlan, columns, scalars, sizes) -> tuple[Steps, Storage]:
    """Iterations of L-BFGS."""
    network = loss_network(plan, sizes=dict(net.sizes))
    program = network.program
    gradient = net.executable(_renamed(program.with_(commits=())), sizes)
    gradient.bind(net.storage)
    update = None
    if program.commits:
        update = net.executable(select(program, (), commits=True))
        update.bind(net.storage)
    trained = {
        o.name.removeprefix(GRADIENT): net.storage[o.name.removeprefix(GRADIENT)]
        for o in program.outputs
        if o.name.startswith(GRADIENT)
    }
    losses = [term.name for term in network.losses]
    return QuasiNewton(gradient, columns, losses, trained, scalars, plan.lbfgs.get("memory"), update), net.storage


def _renamed(program: Program) -> Program:
    """The program with each gradient under the path of its parameter."""
    return program.with_(outputs=tuple(replace(o, name=o.name.removeprefix(GRADIENT)) for o in program.outputs))


def _evaluated(net: Compiled, plan: TrainPlan, storage: Storage) -> Storage:
    """The parameters and states of the net as they are evaluated: averages where the plan keeps them."""
    if plan.average is None:
        return net.storage
    return storage.renamed({path: path + AVERAGE if path + AVERAGE in storage else path for path in net.storage})


def _evaluation(net: Compiled, weights, columns):
    """A function that gives the losses and metrics of the weights on a set; compiled at its first use."""
    network = net.network()
    samples = samples_of(network, columns)

    def bound(program: Program) -> Executable:
        executable = net.executable(program)
        executable.bind(weights)
        return executable

    @cache
    def evaluation() -> Evaluation:
        names = [r.name for r in (*network.losses, *network.metrics)]
        return Evaluation(net.forward(names), network.batch, bound)

    return lambda: evaluation().run(columns, samples)


def samples_of(network: Network, columns: Mapping[str, np.ndarray]) -> int:
    """How many samples some columns hold; a net without a batch has one whole sample."""
    return len(columns[slots_of(network)[0].name]) if network.batch is not None else 1
