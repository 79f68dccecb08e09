"""What a caller gives, checked against what a program declares: errors name the input and what it should have been."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from diffgraph.diagnostics import DiffgraphError, error, suggest
from diffgraph.ir.dimension import Size, evaluate
from diffgraph.ir.interpret import solve_sizes
from diffgraph.ir.program import Input

#: The element type of each kind in memory, by precision.
DTYPES = {
    "f32": {"float": np.dtype(np.float32), "int": np.dtype(np.int64), "bool": np.dtype(np.bool_)},
    "f64": {"float": np.dtype(np.float64), "int": np.dtype(np.int64), "bool": np.dtype(np.bool_)},
}

#: Precisions of products only: what is in memory is f32.
OF_CORES = ("tf32", "bf16")
DTYPES |= {precision: DTYPES["f32"] for precision in OF_CORES}

#: What may become an element of a kind without loss of meaning: the kinds of NumPy types.
_ACCEPTED = {"float": "fiub", "int": "iub", "bool": "biu"}


def label(given: Input) -> str:
    """The name of an input in a message."""
    return f"{given.role} `{given.path or given.tensor.name}`"


def plain(value, what: str) -> np.ndarray:
    """Whatever holds numbers (lists, tensors of other libraries) as an array; `what` names it where it cannot."""
    if type(value) is np.ndarray:
        return value
    if hasattr(value, "detach"):  # a tensor of PyTorch, which may require gradients or lie on a device
        value = value.detach().cpu()
        value = (value.float() if "bfloat16" in str(value.dtype) else value).numpy()
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as problem:
        reason = str(problem).partition(". ")[0]
        raise error("DG812", f"{what} is no array: {reason}") from None


def by_name(known: Sequence[str], arrays: Sequence, named: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Arrays by the names of inputs and targets (`known`), in the order of which are those without one."""
    if len(arrays) > len(known):
        takes = f"{len(known)} array{'s' * (len(known) != 1)}"
        raise error("DG811", f"the net takes {takes} ({', '.join(known)}), and {len(arrays)} are given")
    for name in named:
        if name not in known:
            raise unknown(name, known)
        if name in known[: len(arrays)]:
            raise error("DG811", f"`{name}` is given twice: by its place and by its name")
    given = {**dict(zip(known, arrays)), **named}
    return {name: plain(value, f"`{name}`") for name, value in given.items()}


def as_array(given: Input, value, precision: str) -> np.ndarray:
    """A value for an input as an array of the right type, contiguous; copied only if it must be."""
    wanted = DTYPES[precision][given.tensor.kind]
    if type(value) is np.ndarray and value.dtype == wanted and value.flags.c_contiguous:
        return value
    array = plain(value, label(given))
    if array.dtype.kind not in _ACCEPTED[given.tensor.kind]:
        kinds = {"float": "numbers", "int": "whole numbers", "bool": "truth values"}
        message = f"{label(given)} holds {array.dtype} values where {kinds[given.tensor.kind]} are needed"
        raise error("DG812", message, given.span)
    return np.ascontiguousarray(array, wanted).reshape(array.shape)


def check_range(given: Input, array: np.ndarray, sizes: Mapping[str, int]) -> None:
    """Ints that are declared to lie below a bound must: kernels use them as places in memory."""
    bound: Size | None = given.tensor.bound
    if bound is None or array.size == 0:
        return
    limit = evaluate(bound, sizes)
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= limit:
        wrong = low if low < 0 else high
        raise error("DG814", f"{label(given)} holds {wrong}, but is declared `int < {limit}`", given.span)


def solve(inputs: Iterable[tuple[Input, tuple[int, ...]]]) -> dict[str, int]:
    """The symbols, from the shapes of what was given. DiffgraphError names the input that does not fit."""
    pairs = list(inputs)
    try:
        return solve_sizes([(given.tensor.shape, shape, label(given)) for given, shape in pairs])
    except ValueError as problem:
        spans = [given.span for given, _ in pairs if str(problem).startswith(label(given))]
        raise error("DG813", str(problem), spans[0] if spans else None) from None


def missing(given: Input) -> DiffgraphError:
    """An input that nobody gave."""
    return error("DG811", f"{label(given)} is not given", given.span)


def unknown(name: str, known: Iterable[str]) -> DiffgraphError:
    """A name that no input has."""
    known = list(known)
    names = ", ".join(known) or "none"
    return error("DG811", f"there is no input `{name}`; there are: {names}", help=suggest(name, known))
