"""ONNX Runtime, on the export of the PyTorch twin, with every optimization of its own."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import torch

from benchmarks.samples import samples
from benchmarks.sides.torch import module_of
from benchmarks.workloads import Workload
from diffgraph.inspect.turns import Configuration, Prepared


def configurations(work: Workload, threads: int, arrays: Path) -> Iterator[Configuration]:
    """One, for inference."""
    if work.onnx:
        yield Configuration("onnxruntime", lambda: _inference(work, threads, arrays))


def export(work: Workload, arrays: Path, target: Path) -> None:
    """Writes the twin as an ONNX file."""
    model = module_of(work.torch[0], arrays)
    if not isinstance(model, torch.nn.Module):
        model = _Function(model)
    inputs = tuple(torch.from_numpy(a) for a in samples(work).values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), inputs, str(target), dynamo=False, input_names=list(work.columns))


class _Function(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A session with so many threads that wait by spinning, as is its default."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _inference(work: Workload, threads: int, arrays: Path) -> Prepared:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(work, arrays, path)
        model = session(path, threads)
    inputs = samples(work)

    def run():
        return model.run(None, inputs)[0]

    return Prepared(run, run())
