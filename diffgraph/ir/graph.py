"""The layer graph: what a person inspects. The only door to networkx, which is imported when a graph is made.

Nodes are the instances of layers and functions, the ports, what stands between instances (`x + y` in a net is a
formula), the results, and what a scan carries from step to step. Its body is shown once, and an edge leads back from
what it makes of a carry. networkx collapses parallel edges (`x * x`), so the operands of a node are listed on the
node, and each edge carries the slots it fills.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from diffgraph.ir.program import Input, Program, Scan, Statement, Tensor, walk


def layer_graph(network, depth: int | None = None, program: Program | None = None):
    """A `networkx.DiGraph` of a network (`language.network.Network`).

    depth: instances nested deeper than this are part of the one around them; None shows the innermost.
    program: where to look for the definitions of each node, by phase; the network's own if None.

    Node attributes: `kind` (input, target, layer, function, net, formula, carry, parameter, output, loss, metric),
    `type`, `path`, `span`, `settings`, `operands` (node ids, one for each slot), `shapes` (of what it makes),
    `parameters` (paths), `definitions` (phase -> names of tensors). Edge attribute: `slots`.
    """
    return _LayerGraph(network, depth, program or network.program).build()


class _LayerGraph:
    def __init__(self, network, depth: int | None, program: Program):
        import networkx

        self.network = network
        self.flow = _Flow(network.program)
        self.shown = _shown(network.instances, depth)
        self.ends = {t for i in network.instances for t in i.outputs}
        self.definitions = _definitions(program)
        self.graph = networkx.DiGraph(name=network.name, training=network.training)
        self.makers: dict[str, str] = {}
        self.carried: dict[str, str] = {}

    def build(self):
        """The graph."""
        network = self.network
        for kind, ports in (("input", network.inputs), ("target", network.targets)):
            for port in ports:
                self._node(port.name, kind, (), (port.tensor.name,), span=port.span)
        for instance in self.shown:
            for tensor in instance.outputs:
                self.makers.setdefault(tensor, instance.path)
        for instance in self.shown:
            # A function applied to an expression, `tanh(x * x)`, is one definition with it.
            read = instance.inputs or [t for made in instance.outputs for t in self._read_by(made)]
            operands = [self._source(t) for t in read]
            self._node(
                instance.path,
                instance.kind,
                operands,
                instance.outputs,
                type=instance.type,
                settings=instance.settings,
                span=instance.span,
                parameters=tuple(v.path for v in network.parameters if _is_inside(v.path, instance.path)),
                definitions=self._definitions_of(instance.path),
            )
        for kind, results in (("output", network.outputs), ("loss", network.losses), ("metric", network.metrics)):
            for result in results:
                self._node(f"{kind} {result.name}", kind, [self._source(result.tensor)], (), span=result.span)
        while self.carried:
            node, following = self.carried.popitem()
            self._connect(node, (*self.graph.nodes[node]["operands"], self._source(following)))
        return self.graph

    def _node(self, name: str, kind: str, operands: Iterable[str], outputs: Iterable[str], **attributes: Any) -> None:
        operands, outputs = tuple(operands), tuple(outputs)
        plain = {"type": kind, "path": name, "settings": "", "span": None, "parameters": (), "definitions": {}}
        shapes = tuple(self.flow.tensors[t].shape for t in outputs)
        self.graph.add_node(name, **(plain | {"kind": kind, "shapes": shapes} | attributes))
        for tensor in outputs:
            self.makers.setdefault(tensor, name)
        self._connect(name, operands)

    def _connect(self, name: str, operands: tuple[str, ...]) -> None:
        self.graph.nodes[name]["operands"] = operands
        for source in dict.fromkeys(operands):
            slots = tuple(k for k, operand in enumerate(operands) if operand == source)
            self.graph.add_edge(source, name, slots=slots)

    def _source(self, tensor: str) -> str:
        """The node that makes a tensor; what no instance makes gets a node of its own."""
        tensor = self.flow.origin(tensor)
        if tensor in self.makers:
            return self.makers[tensor]
        given = self.flow.given.get(tensor)
        path = self.flow.paths.get(tensor, "")
        if given is not None:
            self._node(given.path or tensor, given.role, (), (tensor,), span=given.span)
        elif tensor in self.flow.carries:
            initial, following = self.flow.carries[tensor]
            name = f"{path}:{tensor}" if path else tensor
            self._node(name, "carry", [self._source(initial)], (tensor,), path=path)
            self.carried[name] = following
        else:
            sources = dict.fromkeys(self._source(t) for t in self._read_by(tensor))
            self._node(f"{path}:{tensor}" if path else tensor, "formula", sources, (tensor,), path=path)
        return self.makers[tensor]

    def _read_by(self, tensor: str) -> list[str]:
        """The tensors with a node of their own, ports, carries, and results of instances that a tensor is computed
        from. """
        found: dict[str, None] = {}
        pending, seen = [tensor], set()
        while pending:
            for operand in map(self.flow.origin, self.flow.operands.get(pending.pop(), ())):
                if operand in self.makers or operand in self.ends or operand in self.flow.carries:
                    found[operand] = None
                elif operand not in seen:
                    seen.add(operand)
                    pending.append(operand)
        return list(found)

    def _definitions_of(self, path: str) -> dict[str, tuple[str, ...]]:
        phases: dict[str, list[str]] = {}
        for (where, phase), names in self.definitions.items():
            if where == path or where.startswith(f"{path}."):
                phases.setdefault(phase, []).extend(names)
        return {phase: tuple(dict.fromkeys(names)) for phase, names in phases.items()}


class _Flow:
    """What each tensor of a program is computed from, the bodies of scans included, each taken once."""

    def __init__(self, program: Program):
        self.tensors: dict[str, Tensor] = dict(program.tensors)
        self.given: dict[str, Input] = {i.tensor.name: i for i in program.inputs}
        self.operands: dict[str, tuple[str, ...]] = {}
        self.paths: dict[str, str] = {}
        self.carries: dict[str, tuple[str, str]] = {}
        self.same: dict[str, str] = {}
        for statement, inside in statements_of(program):
            self._add(statement, inside)

    def origin(self, tensor: str) -> str:
        """The tensor that another name stands for: in a scan what it reads from outside, outside what it makes."""
        while self.same.get(tensor, tensor) != tensor:
            tensor = self.same[tensor]
        return tensor

    def _add(self, statement: Statement, inside: Program) -> None:
        path = statement.provenance[0].path if statement.provenance else ""
        for name in (*statement.operands, *(tensor.name for tensor in statement.results)):
            self.tensors[name] = inside.tensors[name]
        for tensor in statement.results:
            self.operands[tensor.name] = statement.operands
            self.paths[tensor.name] = path
        if isinstance(statement, Scan):
            self._add_scan(statement, path)

    def _add_scan(self, scan: Scan, path: str) -> None:
        for carry in scan.carries:
            self.carries[carry.inner] = (carry.initial, carry.next)
            self.paths[carry.inner] = path
            self.same[carry.final.name] = carry.next
        self.same.update((y.stacked.name, y.inner) for y in scan.yields)
        self.same.update(scan.sequences)
        self.same.update(scan.constants)


def statements_of(program: Program) -> Iterator[tuple[Statement, Program]]:
    """Every statement that the graph shows, with the program it is in: those of scan bodies after their scan."""
    for statement in program.statements:
        yield statement, program
        if isinstance(statement, Scan):
            yield from statements_of(statement.body)


def _shown(instances, depth: int | None) -> list:
    """The instances that hold no other, as far down as `depth` allows."""
    near = [i for i in instances if depth is None or i.path.count(".") < depth]
    parents = {p for i in near for p in _ancestors(i.path)}
    return [i for i in near if i.path not in parents and i.kind != "group"]


def _ancestors(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:k]) for k in range(1, len(parts))]


def _is_inside(path: str, instance: str) -> bool:
    return path.startswith(f"{instance}.")


def _definitions(program: Program) -> dict[tuple[str, str], list[str]]:
    """The tensors defined for each (path, phase)."""
    found: dict[tuple[str, str], list[str]] = {}
    for statement in walk(program):
        for origin in statement.provenance:
            found.setdefault((origin.path, origin.phase), []).extend(t.name for t in statement.results)
    return found
