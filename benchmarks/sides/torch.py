"""PyTorch: eager and compiled, in each layout, with each of its fast optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks import torch_models
from benchmarks.samples import COMPARED, read_arrays, samples
from benchmarks.workloads import Twin, Workload
from diffgraph.inspect.turns import Configuration, Prepared


def configurations(work: Workload, threads: int, arrays: Path) -> Iterator[Configuration]:
    """Every twin, eager and compiled; images with channels first and last; optimizers fused and for each tensor."""
    torch.set_num_threads(threads)
    torch._inductor.config.freezing = work.kind == "infer"
    layouts = (False, True) if work.images else (False,)
    optimizers = ("fused", "foreach") if work.kind == "train" else ("",)
    for twin in work.torch:
        for compiled in (False, True)[: 1 + twin.compiled]:
            for last in layouts:
                for how in optimizers if not compiled else optimizers[:1]:
                    parts = ["compile" if compiled else "eager", twin.label, "channels_last" if last else "", how]
                    make = _maker(work, twin, arrays, compiled, last, how)
                    yield Configuration(" ".join(["torch", *filter(None, parts)]), make, twin.exact)


def _maker(work: Workload, twin: Twin, arrays: Path, compiled: bool, last: bool, how: str) -> Callable[[], Prepared]:
    make = {"train": _training, "infer": _inference, "gradient": _gradient}[work.kind]
    return lambda: make(work, twin, arrays, compiled, last, how)


def module_of(twin: Twin, arrays: Path | None) -> Callable:
    """The twin with our initial values, if they are given; a plain function as it is."""
    options = dict(twin.options)
    if isinstance(options.get("make"), str):
        options["make"] = getattr(torch_models, options["make"])
    found = getattr(torch_models, twin.model)
    if not twin.is_module:
        return found
    model = found(**options)
    if arrays is None:
        return model
    parameters, states = read_arrays(arrays)
    with torch.no_grad():
        given = [torch.from_numpy(a) for a in parameters]
        if hasattr(model, "take"):
            model.take(given)
        else:
            own = model.parameters_in_order() if hasattr(model, "parameters_in_order") else list(model.parameters())
            _copy(own, given)
        _copy([b for b in model.buffers() if b.is_floating_point()], [torch.from_numpy(a) for a in states])
    return model


def _copy(targets, values) -> None:
    for target, value in zip(targets, values, strict=True):
        if target.shape != value.shape:
            raise ValueError(f"the twin has {tuple(target.shape)} where the net has {tuple(value.shape)}")
        target.copy_(value)


def _placed(tensor: torch.Tensor, last: bool) -> torch.Tensor:
    """With channels last, if so."""
    return tensor.contiguous(memory_format=torch.channels_last) if last and tensor.dim() == 4 else tensor


def _training(work: Workload, twin: Twin, arrays: Path, compiled: bool, last: bool, how: str) -> Prepared:
    model = module_of(twin, arrays)
    model = model.to(memory_format=torch.channels_last) if last else model
    kind, settings = work.optimizer
    optimizer = getattr(torch.optim, kind)(model.parameters(), **settings, **{how: True})
    loss = getattr(torch_models, work.loss)
    columns = [torch.from_numpy(a) for a in samples(work).values()]
    batches = list(zip(*([_placed(part, last) for part in c.split(work.batch)] for c in columns)))

    def objective(*batch):
        return loss(model(*batch[:-1]), batch[-1])

    objective = torch.compile(objective) if compiled else objective

    def step(batch) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        value = objective(*batch)
        value.backward()
        optimizer.step()
        return value

    evidence = np.array([step(batch).item() for batch in batches[:COMPARED]])
    timed = batches[: work.steps]

    def steps() -> None:
        for batch in timed:
            step(batch)

    return Prepared(steps, evidence)


def _inference(work: Workload, twin: Twin, arrays: Path, compiled: bool, last: bool, how: str) -> Prepared:
    model = module_of(twin, arrays)
    if isinstance(model, nn.Module):
        model = model.eval().to(memory_format=torch.channels_last if last else torch.preserve_format)
    inputs = [_placed(torch.from_numpy(a), last) for a in samples(work).values()]
    function = torch.compile(model) if compiled else model

    def run() -> torch.Tensor:
        with torch.no_grad():
            return function(*inputs)

    return Prepared(run, run().numpy().copy())


def _gradient(work: Workload, twin: Twin, arrays: Path, compiled: bool, last: bool, how: str) -> Prepared:
    model = module_of(twin, arrays)
    inputs = [torch.from_numpy(a) for a in samples(work).values()]
    inputs[0].requires_grad_()
    wrt = [*(model.parameters() if isinstance(model, nn.Module) else ()), inputs[0]]
    function = torch.compile(model) if compiled else model

    def run() -> float:
        for tensor in wrt:
            tensor.grad = None
        value = function(*inputs)
        value.backward()
        return value

    value = run().item()
    return Prepared(run, np.array([value, *(t.grad.double().norm().item() for t in wrt)]))


def started(work: Workload, threads: int, compiled: bool) -> None:
    """One result of the first twin with weights of its own, in the layout that is best for images."""
    torch.set_num_threads(threads)
    torch._inductor.config.freezing = True
    model = module_of(work.torch[0], None).eval().to(memory_format=torch.channels_last)
    inputs = [_placed(torch.from_numpy(a), True) for a in samples(work).values()]
    with torch.no_grad():
        (torch.compile(model) if compiled else model)(*inputs)


def warm_up() -> None:
    """Loads what any model needs, so that memory can be measured from there on."""
    layer = nn.Conv2d(4, 4, 3)
    layer(torch.zeros(2, 4, 8, 8)).sum().backward()
    torch.optim.Adam(layer.parameters(), fused=True).step()
