"""A net in ONNX Runtime, to compare with."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.inspect.bench import Work
from diffgraph.interop.onnx.exporting import onnx_model

NAME = "onnxruntime"


def require() -> None:
    """DiffgraphError where it is not installed."""
    missing = [package for package in (NAME, "onnx") if find_spec(package) is None]
    if missing:
        raise error("DG946", f"{missing[0]} is not installed", help=f"pip install {' '.join(missing)}")


def step_of(work: Work) -> Callable[[], dict[str, np.ndarray]]:
    """A function that makes a step of inference in ONNX Runtime, with every optimization and as many threads as ours."""
    import onnxruntime

    precision = "f64" if any(a.dtype == np.float64 for a in work.arrays.values()) else "f32"
    model = onnx_model(work.program, work.arrays, "net", precision)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = work.case.threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    given = {i.name: work.inputs[i.name] for i in session.get_inputs()}
    names = [o.name for o in work.program.outputs]
    return lambda: dict(zip(names, session.run(None, given)))
