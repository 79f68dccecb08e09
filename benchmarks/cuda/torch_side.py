"""PyTorch on the same device: eager, compiled, and as a captured graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from benchmarks.cuda.limits import repeated
from benchmarks.samples import samples
from benchmarks.workloads import Workload

#: What is compiled takes about so many seconds at least to compile.
COMPILING = 25


def seconds(work: Workload, precision: str, rounds: int, clock, dry: bool) -> dict[str, float]:
    """Of a step, by how it is run; nothing where PyTorch has no such device. What fails is left out, and said."""
    try:
        import torch
    except ImportError:
        return {}
    if not work.torch or not (dry or torch.cuda.is_available()):
        return {}
    place = torch.device("cpu" if dry else "cuda")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    wait = (lambda: None) if dry else torch.cuda.synchronize
    ways = {"eager": _eager, "graph": _graph, "compiled": _compiled}
    found = {}
    for name, way in ways.items():
        if clock.left < (COMPILING if name == "compiled" else 0) or (dry and name != "eager"):
            continue
        try:
            found[name] = repeated(way(_step(work, precision, place)), wait, rounds)
        except Exception as problem:
            print(f"{work.name}: {name}: {type(problem).__name__}: {str(problem).splitlines()[0]}", flush=True)
    return found


def _eager(step: Callable) -> Callable:
    return step


def _compiled(step: Callable) -> Callable:
    import torch

    return torch.compile(step)


def _graph(step: Callable) -> Callable:
    """What a step does, captured once, as PyTorch's manual says: after some steps on a stream of its own."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _step(work: Workload, precision: str, place) -> Callable:
    import torch
    from torch import nn

    from benchmarks import torch_models
    from benchmarks.sides.torch import module_of

    model = module_of(work.torch[0], None)
    last = torch.channels_last if work.images else torch.preserve_format
    if isinstance(model, nn.Module):
        model = model.to(place).to(memory_format=last)
    arrays = [torch.from_numpy(c[: work.batch]).to(place) for c in samples(work).values()]
    arrays = [a.contiguous(memory_format=last) if work.images and a.dim() == 4 else a for a in arrays]

    def half():
        return torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16")

    if work.kind == "infer":
        if isinstance(model, nn.Module):
            model.eval()

        def infer():
            with torch.no_grad(), half():
                return model(*arrays)

        return infer
    if work.kind == "gradient":
        arrays[0].requires_grad_()
        wrt = [*(model.parameters() if isinstance(model, nn.Module) else ()), arrays[0]]

        def gradient():
            with half():
                value = model(*arrays)
            return torch.autograd.grad(value, wrt)

        return gradient
    kind, settings = work.optimizer
    make = getattr(torch.optim, kind)
    more = {"capturable": True} if "capturable" in inspect.signature(make).parameters and place.type == "cuda" else {}
    optimizer = make(model.parameters(), **settings, fused=True, **more)
    loss = getattr(torch_models, work.loss)

    def train():
        optimizer.zero_grad(set_to_none=True)
        with half():
            value = loss(model(*arrays[:-1]), arrays[-1])
        value.backward()
        optimizer.step()

    return train
