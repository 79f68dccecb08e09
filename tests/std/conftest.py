"""One formula of the standard library and what PyTorch says of it: values, first and second derivatives."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from diffgraph.autodiff.differentiate import gradients
from diffgraph.ir.interpret import interpret
from diffgraph.ir.program import Builder, Output
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.passes.pipeline import optimize
from diffgraph.runtime.executable import build

#: Largest relative disagreement with PyTorch in float64, and in float32 on the cpu target.
EXACT = 1e-9
SINGLE = 1e-4


@dataclass(frozen=True)
class Result:
    """What a formula gave: its value, and by path the derivatives of <value, r> and of the sum of <those, r'>, and the
    states that a training step would keep."""

    value: np.ndarray
    first: Mapping[str, np.ndarray]
    second: Mapping[str, np.ndarray]
    states: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Formula:
    """`output y = text` in a net whose inputs have the shapes and kinds of `values`, elaborated and differentiated."""

    network: object
    program: object
    values: Mapping[str, np.ndarray]
    wrt: tuple[str, ...]

    @property
    def cotangent(self) -> str:
        """The input whose value is not yet known: its shape is that of y."""
        return next(t for t, v in self.values.items() if v is None)

    @property
    def by_path(self) -> dict[str, np.ndarray]:
        """The values of inputs, parameters and states by the name the user knows."""
        names = {i.tensor.name: i.path for i in self.network.program.inputs}
        return {names[t]: v for t, v in self.values.items() if t in names}


def noise(shape, seed: int) -> np.ndarray:
    """Normal numbers, none of them near the kinks of piecewise functions at whole numbers."""
    x = np.random.default_rng(seed).standard_normal(shape)
    return np.where(np.abs(x - np.round(x)) < 0.02, x + 0.05, x)


def port(role: str, name: str, value: np.ndarray) -> str:
    """The declaration of an input or a target that takes this array, its first axis the batch."""
    shape = ", ".join(["N", *map(str, value.shape[1:])][: value.ndim])
    kind = f": int < {int(value.max()) + 1}" if value.dtype.kind == "i" else ""
    return f"    {role} {name}[{shape}]{kind}\n"


def formula(text: str, inputs: Mapping[str, np.ndarray], training=False, second=True, declarations="",
            targets=()) -> Formula:  # fmt: skip
    """Elaborates and differentiates a formula of inputs; parameters and positive states are drawn at random.
    Targets are not differentiated by."""
    ports = "".join(port("target" if name in targets else "input", name, v) for name, v in inputs.items())
    module = load_text(f"{declarations}\nnet case {{\n{ports}    y = {text}\n    output y\n}}\n")
    network = elaborate(module, training=training)
    values = {}
    for i, declared in enumerate(network.program.inputs):
        if declared.path in inputs:
            values[declared.tensor.name] = inputs[declared.path]
        elif declared.role == "parameter":
            values[declared.tensor.name] = 0.5 * noise(declared.tensor.shape, 100 + i)
        elif declared.role == "state":
            values[declared.tensor.name] = np.abs(noise(declared.tensor.shape, 200 + i)) + 0.1
        elif declared.role == "run":
            values[declared.tensor.name] = {"seed": 3, "step": 2, "total_steps": 10}[declared.path]
    program, wrt = differentiated(network, values, second)
    return Formula(network, program, values, wrt)


def differentiated(network, values: dict, second: bool):
    """The program of a network with the first and second derivatives of its output y among its outputs; adds the
    cotangents to `values`."""
    builder = Builder(network.program)
    y = network.program.output("y")
    declared = [i for i in network.program.inputs if i.role in ("input", "parameter") and i.tensor.kind == "float"]
    wrt = {i.path: i.tensor.name for i in declared}
    cotangent = builder.input("r", builder.tensors[y].shape, "free")
    first = gradients(builder, [(y, cotangent.name)], list(wrt.values()))
    pairs = []
    for k, (path, tensor) in enumerate(wrt.items()):
        if first.get(tensor) is None:
            continue
        again = builder.input(f"r_{path}", builder.tensors[tensor].shape, "free")
        values[again.name] = noise(np.shape(values[tensor]), 301 + k)
        pairs.append((first[tensor], again.name))
        builder.outputs.append(Output(f"first {path}", first[tensor]))
    derived = gradients(builder, pairs, list(wrt.values())) if second and pairs else {}
    for path, tensor in wrt.items():
        if derived.get(tensor) is not None:
            builder.outputs.append(Output(f"second {path}", derived[tensor]))
    values[cotangent.name] = None  # its shape is known once y is
    return builder.program(), tuple(wrt)


def interpreted(f: Formula, precision="f64") -> Result:
    """The formula by the interpreter."""
    values = {t: v for t, v in f.values.items() if v is not None}
    y = f.program.output("y")
    shape = np.shape(interpret(f.program, values, precision, keep=[y])[y])
    results = interpret(f.program, values | {f.cotangent: noise(shape, 7)}, precision)
    named = {o.name: results[o.tensor] for o in f.program.outputs}
    paths = {i.tensor.name: i.path for i in f.program.inputs}
    states = {paths[c.state]: results[c.tensor] for c in f.program.commits}
    return Result(named["y"], part(named, "first "), part(named, "second "), states)


def difference(f: Formula, step=1e-6) -> tuple[float, float]:
    """The derivative of <y, r> in a random direction of all inputs and parameters together: what the program says, and
    the central difference."""
    y = f.program.output("y")
    values = {t: v for t, v in f.values.items() if v is not None}
    names = {i.path: i.tensor.name for i in f.program.inputs if i.path in f.wrt}
    directions = {path: noise(np.shape(values[t]), 400 + k) for k, (path, t) in enumerate(names.items())}

    def moved(by: float) -> np.ndarray:
        near = {names[path]: values[names[path]] + by * d for path, d in directions.items()}
        return interpret(f.program, values | near, keep=[y])[y]

    central = (moved(step) - moved(-step)) / (2 * step)
    first = interpreted(f).first
    derivative = sum(float(np.sum(first[path] * d)) for path, d in directions.items() if path in first)
    return derivative, float(np.sum(central * noise(central.shape, 7)))


def compiled(f: Formula, shape) -> Result:
    """The formula through all passes, by the cpu target in float32. `shape` is that of y."""
    executable = build(optimize(f.program), "cpu", "f32")
    values = f.values | {f.cotangent: noise(shape, 7)}
    by_path = {i.path: values[i.tensor.name] for i in f.program.inputs}
    stored = {path: np.ascontiguousarray(by_path[path], np.float32) for path in executable.stored}
    executable.bind(stored)
    named = executable.run({path: by_path[path] for path in executable.given}, commit=True)
    return Result(named["y"], part(named, "first "), part(named, "second "), stored)


def part(named: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}


def by_torch(f: Formula, function: Callable, second=True) -> Result:
    """The formula by PyTorch in float64: `function(inputs, parameters and states without "f.")`."""
    import torch

    tensors = {path: torch.as_tensor(np.asarray(v)).clone() for path, v in f.by_path.items()}
    leaves = {path: t.requires_grad_() for path, t in tensors.items() if path in f.wrt}
    ports = [i.path for i in f.network.program.inputs if i.role in ("input", "target")]
    variables = {path.removeprefix("f."): t for path, t in tensors.items() if path not in ports}
    y = function(*(tensors[path] for path in ports), variables)
    cotangent = torch.as_tensor(noise(tuple(y.shape), 7))
    zero = {path: torch.zeros_like(t) for path, t in leaves.items()}
    if not y.requires_grad:
        return Result(y.numpy(), {path: t.numpy() for path, t in zero.items()}, {})
    first = torch.autograd.grad((y * cotangent).sum(), list(leaves.values()), create_graph=second, allow_unused=True)
    first = {path: zero[path] if g is None else g for path, g in zip(leaves, first)}
    derived = {}
    if second:
        pairs = [(g * torch.as_tensor(noise(tuple(g.shape), 301 + k))).sum() for k, g in enumerate(first.values())]
        total = sum(pairs)
        if total.requires_grad:
            found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
            derived = {path: zero[path] if g is None else g for path, g in zip(leaves, found)}
    plain = [{path: t.numpy(force=True) for path, t in group.items()} for group in (first, derived)]
    return Result(y.detach().numpy(), *plain)


def same(ours, theirs, what: str, tolerance=EXACT) -> None:
    """Fails where two arrays differ by more than `tolerance` of the largest element."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, PyTorch's is {theirs.shape}"
    odd = ~np.isfinite(theirs)
    np.testing.assert_array_equal(ours[odd], theirs[odd], what)
    scale = max(1e-3, float(np.max(np.abs(theirs[~odd]), initial=0)))
    worst = float(np.max(np.abs(ours[~odd] - theirs[~odd]), initial=0)) / scale
    assert worst <= tolerance, f"{what}: differs by {worst:.2g} of the largest element"


def check(text, inputs, function, *, training=False, second=True, differences=True, declarations="", targets=(),
          single=False, tolerance=EXACT) -> Result:  # fmt: skip
    """A formula against PyTorch: value, first derivatives, and where `second` those of a random combination of them; by
    the interpreter, and where `single` without the second ones by the cpu target in float32, all passes on."""
    drawn = {name: noise(v, k) for k, (name, v) in enumerate(inputs.items()) if isinstance(v, tuple)}
    arrays = {name: drawn[name] if name in drawn else np.asarray(v) for name, v in inputs.items()}
    f = formula(text, arrays, training, second, declarations, targets)
    ours, theirs = interpreted(f), by_torch(f, function, second)
    agree(ours, theirs, tolerance)
    for path, expected in theirs.second.items():
        same(ours.second.get(path, 0 * expected), expected, f"second derivative by {path}", tolerance)
    if differences and f.wrt:
        derivative, central = difference(f)
        assert derivative == pytest.approx(central, rel=1e-6, abs=1e-7), "derivative and finite difference"
    if single:
        f = formula(text, arrays, training, False, declarations, targets)
        agree(compiled(f, ours.value.shape), theirs, SINGLE)
    return ours


def agree(ours: Result, theirs: Result, tolerance: float) -> None:
    """Fails where a value or a first derivative differs."""
    same(ours.value, theirs.value, "value", tolerance)
    for path, expected in theirs.first.items():
        same(ours.first.get(path, 0 * expected), expected, f"derivative by {path}", tolerance)


@pytest.fixture(scope="session")
def agrees() -> Callable:
    """`check`, for the tables of the test files."""
    pytest.importorskip("torch")
    return check


@pytest.fixture(scope="session")
def torchvision_models():
    """`torchvision.models`, also where only PyTorch's CPU wheel is installed and torchvision's own operators are not to
    be had: what its modules refer to is declared for them."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("PIL")
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        yield importlib.import_module("torchvision.models")
        return
    yield importlib.import_module("torchvision.models")
