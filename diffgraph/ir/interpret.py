"""The executable specification: any program, run with NumPy, slowly and obviously.

Every target and every pass must agree with what this gives in float64. What a single form means is in `evaluate.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.ir import dimension, scalar
from diffgraph.ir.dimension import Size
from diffgraph.ir.evaluate import evaluate_form
from diffgraph.ir.program import Argsort, Definition, Program, Reshape, Scan, Statement

PRECISIONS = {"f32": np.float32, "f64": np.float64}


def interpret(
    program: Program, values: Mapping[str, np.ndarray], precision: str = "f64", keep: Iterable[str] | str | None = None
) -> dict[str, np.ndarray]:
    """Runs a program on the values of its inputs, by tensor name; tables need not be given.

    Gives the roots by tensor name (outputs, commits, checks), or the tensors in `keep`, or every one with `keep="all"`.
    Floats have the precision `f32` or `f64`. Symbols are solved from the shapes of the values.
    DiffgraphError if a check fails; ValueError if the values do not fit the inputs.
    """
    real = PRECISIONS[precision]
    given = {i.tensor.name: i.table.array for i in program.inputs if i.table is not None} | dict(values)
    wanted = tuple(program.tensors) if keep == "all" else program.roots if keep is None else tuple(keep)
    statements = needed(program, wanted)
    inputs = {i.tensor.name: i.tensor for i in program.inputs if i.tensor.name in given}
    sizes = solve_sizes([(t.shape, np.shape(given[name]), name) for name, t in inputs.items()])
    arrays = {name: scalar.cast(given[name], t.kind, real) for name, t in inputs.items()}
    _run(statements, arrays, sizes, real)
    for check in program.checks:
        if check.tensor in arrays and not arrays[check.tensor]:
            raise error("DG801", check.message, check.span)
    return {name: arrays[name] for name in wanted if name in arrays}


def needed(program: Program, wanted: Iterable[str]) -> list[Statement]:
    """The statements that the wanted tensors depend on, in order."""
    live = set(wanted)
    found = []
    for statement in reversed(program.statements):
        if any(t.name in live for t in statement.results):
            live.update(statement.operands)
            found.append(statement)
    return found[::-1]


def solve_sizes(shapes: Iterable[tuple[tuple[Size, ...], tuple[int, ...], str]]) -> dict[str, int]:
    """The value of every symbol, from pairs of a declared and an actual shape (and a name, for the message).

    A symbol is found from a size that is linear in it once the other symbols are known. ValueError if shapes disagree.
    """
    return dict(_solved(tuple((tuple(declared), tuple(actual), name) for declared, actual, name in shapes)))


@lru_cache(maxsize=1 << 12)
def _solved(shapes: tuple[tuple[tuple[Size, ...], tuple[int, ...], str], ...]) -> dict[str, int]:
    for declared, actual, name in shapes:
        if len(declared) != len(actual):
            raise ValueError(f"{name} has the shape {_list(actual)}, not {_list(declared)}")
    pairs = [(s, n) for declared, actual, _ in shapes for s, n in zip(declared, actual)]
    sizes: dict[str, int] = {}
    progress = True
    while progress:
        progress = False
        for size, length in pairs:
            open_symbols = dimension.symbols(size) - sizes.keys()
            if len(open_symbols) == 1:
                (name,) = open_symbols
                value = _solve(dimension.substitute(size, sizes), name, length)
                if value is not None:
                    sizes[name] = value
                    progress = True
    for declared, actual, name in shapes:
        for size, length in zip(declared, actual):
            known = dimension.substitute(size, sizes)
            if isinstance(known, int) and known != length:
                raise ValueError(f"{name} has the shape {_list(actual)}, not {_list(declared)} (with {sizes})")
    return sizes


def _solve(size: Size, name: str, length: int) -> int | None:
    """n such that the size is `length` at symbol = n, for a size linear in its only symbol."""
    at_zero = dimension.evaluate(size, {name: 0})
    slope = dimension.evaluate(size, {name: 1}) - at_zero
    if slope == 0 or (length - at_zero) % slope:
        return None
    value = (length - at_zero) // slope
    return value if dimension.evaluate(size, {name: value}) == length else None


def _list(shape) -> str:
    return f"[{', '.join(str(s) for s in shape)}]"


def _run(statements: Iterable[Statement], arrays: dict[str, np.ndarray], sizes: Mapping[str, int], real) -> None:
    """Adds the results of the statements to `arrays`."""
    for statement in statements:
        match statement:
            case Definition():
                arrays[statement.tensor.name] = _definition(statement, arrays, sizes, real)
            case Reshape(tensor, operand):
                shape = [dimension.evaluate(s, sizes) for s in tensor.shape]
                arrays[tensor.name] = arrays[operand].reshape(shape)
            case Argsort(tensor, operand, descending):
                arrays[tensor.name] = argsort(arrays[operand], descending)
            case Scan():
                arrays.update(_scan(statement, arrays, sizes, real))


def _definition(definition: Definition, arrays, sizes, real) -> np.ndarray:
    terms = [evaluate_form(t.form, [arrays[o] for o in t.operands], sizes, real) for t in definition.terms]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return scalar.cast(total, definition.tensor.kind, real)


def argsort(array: np.ndarray, descending: bool = False) -> np.ndarray:
    """The stable order of the last axis; NaN counts as larger than everything."""
    if not descending:
        return np.argsort(array, axis=-1, kind="stable")
    # Twice reversed, so that equal elements keep their order.
    order = np.argsort(array[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    return array.shape[-1] - 1 - order


def _scan(scan: Scan, arrays, sizes, real) -> dict[str, np.ndarray]:
    body = scan.body
    length = dimension.evaluate(scan.length, sizes)
    tables = [i for i in body.inputs if i.table is not None]
    steady = {i.tensor.name: scalar.cast(i.table.array, i.tensor.kind, real) for i in tables}
    steady |= {inner: arrays[outer] for inner, outer in scan.constants}
    state = {c.inner: arrays[c.initial] for c in scan.carries}
    wanted = [*(c.next for c in scan.carries), *(y.inner for y in scan.yields)]
    statements = needed(body, wanted)
    stacked = {y.stacked.name: _empty(y.stacked, sizes, real) for y in scan.yields}
    for step in range(length)[:: -1 if scan.reverse else 1]:
        inside = steady | state | {inner: arrays[outer][step] for inner, outer in scan.sequences}
        if scan.index:
            inside[scan.index] = np.int64(step)
        _run(statements, inside, sizes, real)
        state = {c.inner: inside[c.next] for c in scan.carries}
        for y in scan.yields:
            stacked[y.stacked.name][step] = inside[y.inner]
    return {c.final.name: state[c.inner] for c in scan.carries} | stacked


def _empty(tensor, sizes, real) -> np.ndarray:
    shape = [dimension.evaluate(s, sizes) for s in tensor.shape]
    return np.zeros(shape, scalar.cast(0, tensor.kind, real).dtype)
