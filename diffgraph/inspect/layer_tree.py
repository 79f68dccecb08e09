"""The layer graph as boxes in boxes: what a picture of a network shows, and what opens in it.

A box is an instance, a group of instances that share the beginning of their paths (`layer1` of `layer1.0`,
`layer1.1`), or something beside the instances: a port, a formula, a parameter that a formula reads, a result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from diffgraph.diagnostics import Span
from diffgraph.ir.dimension import Size
from diffgraph.ir.graph import layer_graph, statements_of
from diffgraph.language.network import Network

#: Where an edge comes into a box: this and the name of the box beside it that it comes from.
ENTRY = "in "
#: Where edges leave a box.
EXIT = "out"

#: A formula without a place in a text is called so.
_FORMULA = "formula"


@dataclass(frozen=True)
class Box:
    """Something that a picture shows. `name` is unique in the network: the path, where the box is an instance.

    kind: input, target, layer, function, net, group, formula, carry, parameter, state, output, loss, or metric. boxes:
    what is inside, in the order of the program. edges: between the names of those, from `ENTRY + name` of a box that
    stands beside this one (or beside one around it), and to `EXIT`. back: those of them that lead to the next step of
    a scan."""

    name: str
    label: str
    kind: str
    type: str = ""
    settings: str = ""
    shapes: tuple[tuple[Size, ...], ...] = ()
    span: Span | None = None
    boxes: tuple[Box, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()
    back: tuple[tuple[str, str], ...] = ()

    def walk(self) -> Iterator[Box]:
        """This box and all that is inside."""
        yield self
        for box in self.boxes:
            yield from box.walk()


def layer_tree(network: Network) -> Box:
    """A whole network as one box, whose name is empty."""
    return _Tree(network).root()


def find(tree: Box, name: str) -> Box | None:
    """The box of a name, at any depth."""
    return next((box for box in tree.walk() if box.name == name), None)


class _Tree:
    """Puts the nodes of the layer graph into boxes, and then each edge into the boxes that it goes through."""

    def __init__(self, network: Network):
        self.network = network
        self.graph = layer_graph(network)
        self.instances = {i.path: i for i in network.instances}
        #: Of each node, the names of the boxes around it from the outermost, its own last.
        self.chains: dict[str, tuple[str, ...]] = {}
        self.inside: dict[str, list[str]] = {}
        self.edges: dict[str, dict[tuple[str, str], None]] = {}
        self.back: dict[str, list[tuple[str, str]]] = {}
        self.made = {t.name: statement for statement, _ in statements_of(network.program) for t in statement.results}

    def root(self) -> Box:
        self._fill(("",), dict(self._places()), 0)
        for node, data in self.graph.nodes(data=True):
            for operand in dict.fromkeys(data["operands"]):
                is_back = data["kind"] == "carry" and operand == data["operands"][-1]
                self._connect(self.chains[operand], self.chains[node], is_back)
        return self._box("", "")

    def _places(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each node with the parts of the path that says which boxes it is in."""
        for node, data in self.graph.nodes(data=True):
            parts = tuple(data["path"].split(".")) if data["path"] else ()
            if data["kind"] in ("formula", "carry"):
                parts = (*parts, node)
            elif data["kind"] in ("parameter", "state"):
                parts = (*parts[:-1], node)
            yield node, parts

    def _fill(self, chain: tuple[str, ...], places: Mapping[str, tuple[str, ...]], depth: int) -> None:
        """Puts nodes into the last box of a chain; their places agree in `depth` parts."""
        inside = self.inside.setdefault(chain[-1], [])
        groups: dict[str, dict[str, tuple[str, ...]]] = {}
        for node, place in places.items():
            groups.setdefault(place[depth], {})[node] = place
        for members in groups.values():
            first, place = next(iter(members.items()))
            if len(place) == depth + 1:
                inside.append(first)
                self.chains[first] = (*chain, first)
                continue
            name = ".".join(place[: depth + 1])
            if name in self.instances or not self._is_left_and_entered_again(members, places):
                inside.append(name)
                self._fill((*chain, name), members, depth + 1)
            else:
                self._fill(chain, members, depth + 1)

    def _is_left_and_entered_again(self, members: Mapping, around: Mapping) -> bool:
        """Whether an edge path leads out of a group and back: such a group has no place in a picture."""
        pending = [n for node in members for n in self.graph.successors(node) if n not in members and n in around]
        seen = set(pending)
        while pending:
            for node in self.graph.successors(pending.pop()):
                if node in members:
                    return True
                if node in around and node not in seen:
                    seen.add(node)
                    pending.append(node)
        return False

    def _connect(self, source: tuple[str, ...], target: tuple[str, ...], is_back: bool) -> None:
        """Draws an edge between two nodes, given by their chains: out of the boxes of one, into those of the other."""
        common = next(k for k, (a, b) in enumerate(zip(source, target)) if a != b)
        self._edge(source[common - 1], source[common], target[common])
        if is_back:
            self.back.setdefault(source[common - 1], []).append((source[common], target[common]))
        for box, inner in zip(source[common:], source[common + 1 :]):
            self._edge(box, inner, EXIT)
        for box, inner in zip(target[common:], target[common + 1 :]):
            self._edge(box, ENTRY + source[common], inner)

    def _edge(self, box: str, source: str, target: str) -> None:
        self.edges.setdefault(box, {})[source, target] = None

    # ------------------------------------------------------------ boxes

    def _box(self, name: str, around: str) -> Box:
        if name not in self.inside:
            return self._node(name, around)
        instance = self.instances.get(name)
        boxes = tuple(self._box(inner, name) for inner in self.inside[name])
        edges, back = tuple(self.edges.get(name, ())), tuple(self.back.get(name, ()))
        label = _within(name, around) or self.network.name
        if instance is None:
            return Box(name, label, "group", boxes=boxes, edges=edges, back=back)
        tensors = self.network.program.tensors
        shapes = tuple(tensors[t].shape for t in instance.outputs if t in tensors)
        return Box(
            name, label, instance.kind, instance.type, instance.settings, shapes, instance.span, boxes, edges, back
        )

    def _node(self, name: str, around: str) -> Box:
        data = self.graph.nodes[name]
        label, span = _within(data["path"], around), data["span"]
        if data["kind"] == "formula":
            span = self._origin(name)
            label = _shortened(span.text) if span is not None else _FORMULA
        elif data["kind"] == "carry":
            label = name.rpartition(":")[2]
        elif data["kind"] in ("output", "loss", "metric"):
            label = " ".join(dict.fromkeys(name.split(" ", 1)))  # An unnamed loss is called `loss`.
        type = data["type"] if data["kind"] in ("layer", "function", "net") else ""
        return Box(name, label, data["kind"], type, data["settings"], data["shapes"], span)

    def _origin(self, node: str) -> Span | None:
        """The text that a formula comes from."""
        statement = self.made.get(node.rpartition(":")[2])
        spans = [o.span for o in statement.provenance if o.span is not None] if statement is not None else []
        return spans[0] if spans else None


def _within(path: str, around: str) -> str:
    """A path as it is called in a box: without the path of that."""
    return path.removeprefix(f"{around}.") if around else path


def _shortened(text: str, most: int = 32) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
