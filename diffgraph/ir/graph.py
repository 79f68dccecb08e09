"""The layer graph: what a person inspects. The only door to networkx, which is imported when a graph is made.

Nodes are the instances of layers and functions, the ports, what stands between instances (`x + y` in a net is a
formula), and the results. networkx collapses parallel edges (`x * x`), so the operands of a node are listed on the node, and each
edge carries the slots it fills.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from diffgraph.ir.program import Program, walk


def layer_graph(network, depth: int | None = None, program: Program | None = None):
    """A `networkx.DiGraph` of a network (`language.network.Network`).

    depth: instances nested deeper than this are part of the one around them; None shows the innermost.
    program: where to look for the definitions of each node, by phase; the network's own if None.

    Node attributes: `kind` (input, target, layer, function, net, formula, parameter, output, loss, metric), `type`,
    `path`, `span`, `settings`, `operands` (node ids, one for each slot), `shapes` (of what it makes), `parameters`
    (paths), `definitions` (phase -> names of tensors). Edge attribute: `slots`.
    """
    return _LayerGraph(network, depth, program or network.program).build()


class _LayerGraph:
    def __init__(self, network, depth: int | None, program: Program):
        import networkx

        self.network = network
        self.program = network.program
        self.shown = _shown(network.instances, depth)
        self.ends = {t for i in network.instances for t in i.outputs}
        self.definitions = _definitions(program)
        self.graph = networkx.DiGraph(name=network.name, training=network.training)
        self.makers: dict[str, str] = {}

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
        return self.graph

    def _node(self, name: str, kind: str, operands: Iterable[str], outputs: Iterable[str], **attributes: Any) -> None:
        operands, outputs = tuple(operands), tuple(outputs)
        plain = {"type": kind, "path": name, "settings": "", "span": None, "parameters": (), "definitions": {}}
        shapes = tuple(self.program.tensors[t].shape for t in outputs)
        self.graph.add_node(name, **(plain | {"kind": kind, "operands": operands, "shapes": shapes} | attributes))
        for tensor in outputs:
            self.makers.setdefault(tensor, name)
        for source in dict.fromkeys(operands):
            slots = tuple(k for k, operand in enumerate(operands) if operand == source)
            self.graph.add_edge(source, name, slots=slots)

    def _source(self, tensor: str) -> str:
        """The node that makes a tensor; what no instance makes gets a node of its own."""
        if tensor in self.makers:
            return self.makers[tensor]
        given = next((i for i in self.program.inputs if i.tensor.name == tensor), None)
        if given is not None:
            self._node(given.path or tensor, given.role, (), (tensor,), span=given.span)
        else:
            path = self.program.maker[tensor].provenance[0].path if self.program.maker[tensor].provenance else ""
            sources = dict.fromkeys(self._source(t) for t in self._read_by(tensor))
            self._node(f"{path}:{tensor}" if path else tensor, "formula", sources, (tensor,), path=path)
        return self.makers[tensor]

    def _read_by(self, tensor: str) -> list[str]:
        """The tensors with a node of their own, ports, and results of instances that a tensor is computed from."""
        found: dict[str, None] = {}
        pending, seen = [tensor], set()
        while pending:
            made = self.program.maker.get(pending.pop())
            for operand in made.operands if made is not None else ():
                if operand in self.makers or operand in self.ends:
                    found[operand] = None
                elif operand in self.program.maker and operand not in seen:
                    seen.add(operand)
                    pending.append(operand)
        return list(found)

    def _definitions_of(self, path: str) -> dict[str, tuple[str, ...]]:
        phases: dict[str, list[str]] = {}
        for (where, phase), names in self.definitions.items():
            if where == path or where.startswith(f"{path}."):
                phases.setdefault(phase, []).extend(names)
        return {phase: tuple(dict.fromkeys(names)) for phase, names in phases.items()}


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
