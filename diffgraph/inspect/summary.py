"""The network at a glance: for each layer its output shape, parameters, multiply-adds and bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from diffgraph.inspect.counts import multiply_adds, tensor_bytes
from diffgraph.ir.dimension import Size, product, substitute


@dataclass(frozen=True)
class Row:
    """One instance: its path, type, output shapes, and what it and everything inside it costs for one sample."""

    path: str
    type: str
    shapes: tuple[tuple[Size, ...], ...]
    parameters: int
    macs: Size
    bytes: Size
    line: int | None

    def as_json(self) -> dict:
        return {
            "path": self.path,
            "type": self.type,
            "shapes": [[s if isinstance(s, int) else str(s) for s in shape] for shape in self.shapes],
            "parameters": self.parameters,
            "macs": self.macs if isinstance(self.macs, int) else str(self.macs),
            "bytes": self.bytes if isinstance(self.bytes, int) else str(self.bytes),
            "line": self.line,
        }


def rows(network, precision: str = "f32") -> list[Row]:
    """A row for each instance of the network, in order, sub-layers after their layer. Duck-typed on `Network`."""
    tensors = network.program.tensors
    costs = _costs(network, precision)
    result = []
    for instance in _outer_first(network.instances):
        inside = [c for c in costs if _within(c[0], instance.path)]
        result.append(
            Row(
                instance.path,
                instance.type,
                tuple(tensors[name].shape for name in instance.outputs if name in tensors),
                _sum(product(v.tensor.shape) for v in network.parameters if _within(v.path, instance.path)),
                _sum(c[1] for c in inside),
                _sum(c[2] for c in inside),
                instance.span.line if instance.span else None,
            )
        )
    return result


def _outer_first(instances) -> list:
    """Instances in order, each after those around it (elaboration is done with the inner ones first)."""
    known = {i.path: i for i in instances}
    found: dict[str, None] = {}
    for path in known:
        around = [path[:k] for k, letter in enumerate(path) if letter == "."]
        found.update(dict.fromkeys(outer for outer in (*around, path) if outer in known))
    return [known[path] for path in found]


def totals(network, precision: str = "f32", only: str = "") -> dict[str, Size]:
    """parameters (frozen ones included), macs and bytes of results for one sample; `only` of a layer and what is inside
    it."""
    costs = [c for c in _costs(network, precision) if _within(c[0], only)]
    return {
        "parameters": _sum(product(v.tensor.shape) for v in network.parameters if _within(v.path, only)),
        "macs": _sum(c[1] for c in costs),
        "bytes": _sum(c[2] for c in costs),
    }


def kernel_counts(network, precision: str = "f32", only: str = "") -> dict[str, int]:
    """How many kernels of inference compute some of each layer on this machine, by path; of the whole net, or of what is
    inside `only`, under the empty path. Fused layers share kernels, so that the counts do not add up; what depends on parameters only is
    computed beforehand and does not count."""
    from diffgraph.kernels.schedule import schedule
    from diffgraph.passes.pipeline import optimize
    from diffgraph.passes.prepare import split_prepared
    from diffgraph.passes.report import Report
    from diffgraph.passes.select import select
    from diffgraph.runtime.measured import measured_machine

    results = network.outputs or network.losses
    machine = measured_machine(precision)
    program = optimize(select(network.program, [result.name for result in results]), choices=machine.choices)
    split = split_prepared(program, Report())
    kernels = schedule(program if split is None else split.rest, machine).kernels
    paths = [{origin.path for origin in kernel.provenance} for kernel in kernels]
    own = [i.path for i in network.instances]
    total = sum(any(_within(q, only) for q in found) for found in paths) if only else len(kernels)
    return {"": total} | {p: sum(any(_within(q, p) for q in found) for found in paths) for p in own}


def text(network, precision: str = "f32", only: str | None = None) -> str:
    """The table as text; `only` keeps a layer and what is inside it."""
    shown = [r for r in rows(network, precision) if only is None or _within(r.path, only)]
    kernels = kernel_counts(network, precision, only or "")
    header = ("layer", "type", "output", "parameters", "MACs", "bytes", "kernels")
    lines = [
        (r.path, r.type, _shapes(r.shapes), _number(r.parameters), _number(r.macs),
         _number(r.bytes), _number(kernels[r.path]))
        for r in shown
    ]  # fmt: skip
    total = totals(network, precision, only or "") | {"kernels": kernels[""]}
    last = ("total", "", "", *(_number(value) for value in total.values()))
    inputs = ", ".join(f"{p.name}{_shapes((p.tensor.shape,))}" for p in (*network.inputs, *network.targets))
    return f"{network.name}({inputs})\n\n{_table(header, lines, last)}"


def _costs(network, precision) -> list[tuple[str, Size, Size]]:
    """(path, multiply-adds, bytes of the results) of each statement, for one sample."""
    one = {network.batch: 1} if network.batch else {}
    found = []
    for statement in network.program.statements:
        path = statement.provenance[0].path if statement.provenance else ""
        moved: Size = 0
        for tensor in statement.results:
            moved = moved + tensor_bytes(tensor.shape, tensor.kind, precision)
        found.append((path, substitute(multiply_adds(statement), one), substitute(moved, one)))
    return found


def _within(path: str, parent: str) -> bool:
    return path == parent or path.startswith(parent + ".") or parent == ""


def _sum(sizes: Iterable[Size]) -> Size:
    total: Size = 0
    for size in sizes:
        total = total + size
    return total


def _shapes(shapes) -> str:
    return ", ".join("[" + ", ".join(str(s) for s in shape) + "]" for shape in shapes)


def _number(value: Size) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(header, lines, last) -> str:
    cells = [header, *lines, last]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]

    def line(row):
        text_columns = [f"{c:<{w}}" for c, w in zip(row[:3], widths[:3])]
        number_columns = [f"{c:>{w}}" for c, w in zip(row[3:], widths[3:])]
        return "  ".join(text_columns + number_columns).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([line(header), rule, *map(line, lines), rule, line(last)])
