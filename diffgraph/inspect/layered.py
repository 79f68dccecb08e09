"""Where the boxes of a directed graph stand in a picture: in layers, edges downwards, few crossings, straight where
possible.

Sugiyama, Tagawa and Toda's method (1981): layers by longest path, orders by barycentres, then places with as many
straight edges as possible. Nothing here is random: the same graph always gives the same picture.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

Node = Hashable

_SWEEPS = 12


@dataclass(frozen=True)
class Bend:
    """Where an edge crosses a layer between its ends."""

    source: Node
    target: Node
    layer: int


@dataclass
class Layers:
    """The nodes and bends of each layer, from left to right; `chains`: for each edge, its source, bends and target."""

    rows: list[list[Node]]
    chains: dict[tuple[Node, Node], list[Node]]
    links: list[tuple[Node, Node]] = field(default_factory=list)

    def __post_init__(self):
        links = (pair for chain in self.chains.values() for pair in zip(chain, chain[1:]))
        self.links = list(dict.fromkeys(links))


@dataclass(frozen=True)
class Placed:
    """Centres of nodes and bends, and the size of the whole, whose corner is at 0, 0. `tops` and `bottoms` are the
    edges of the layers."""

    centres: dict[Node, tuple[float, float]]
    width: float
    height: float
    tops: list[float]
    bottoms: list[float]


def arrange(
    nodes: Sequence[Node],
    edges: Sequence[tuple[Node, Node]],
    first: Sequence[Node] = (),
    last: Sequence[Node] = (),
    back: Sequence[tuple[Node, Node]] = (),
) -> Layers:
    """Nodes in layers, in an order with few crossings. Edges that close a cycle, `back` before others, are drawn
    upwards. first, last: nodes without edges to them, or from them, that stand in the first layer, or in the last."""
    edges = [edge for edge in dict.fromkeys(edges) if edge[0] != edge[1]]
    turned = {edge[::-1] for edge in back}
    layer = _layers(nodes, _acyclic(nodes, [edge for edge in edges if edge[::-1] not in turned]))
    layer.update(dict.fromkeys(first, 0))
    layer.update(dict.fromkeys(last, max(layer.values(), default=0)))
    rows: list[list[Node]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in nodes:
        rows[layer[node]].append(node)
    chains = {}
    for source, target in edges:
        top, bottom = sorted((layer[source], layer[target]))
        bends: list[Node] = [Bend(source, target, k) for k in range(top + 1, bottom)]
        for bend in bends:
            rows[bend.layer].append(bend)
        chains[source, target] = [source, *(bends if layer[source] < layer[target] else bends[::-1]), target]
    return _uncrossed(Layers(rows, chains))


def _acyclic(nodes: Sequence[Node], edges: Sequence[tuple[Node, Node]]) -> list[tuple[Node, Node]]:
    """The edges, those that lead back turned round."""
    successors: dict[Node, list[Node]] = {node: [] for node in nodes}
    for source, target in edges:
        successors[source].append(target)
    done, open_ = set(), set()
    back = set()
    for start in nodes:
        stack = [(start, iter(successors[start]))] if start not in done else []
        open_.update(node for node, _ in stack)
        while stack:
            node, following = stack[-1]
            nearest = next(following, None)
            if nearest is None:
                stack.pop()
                open_.discard(node)
                done.add(node)
            elif nearest in open_:
                back.add((node, nearest))
            elif nearest not in done:
                open_.add(nearest)
                stack.append((nearest, iter(successors[nearest])))
    return [(b, a) if (a, b) in back else (a, b) for a, b in edges]


def _layers(nodes: Sequence[Node], edges: Sequence[tuple[Node, Node]]) -> dict[Node, int]:
    """Each node below all that it follows, and, where it follows nothing, close above what follows it."""
    before: dict[Node, list[Node]] = {node: [] for node in nodes}
    after: dict[Node, list[Node]] = {node: [] for node in nodes}
    for source, target in edges:
        before[target].append(source)
        after[source].append(target)
    layer: dict[Node, int] = {}
    waiting = {node: len(before[node]) for node in nodes}
    ready = [node for node in nodes if not waiting[node]]
    for node in ready:
        layer[node] = max((layer[source] + 1 for source in before[node]), default=0)
        for target in after[node]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    for node in reversed(ready):
        if after[node] and not before[node]:
            layer[node] = min(layer[target] for target in after[node]) - 1
    return layer


def _uncrossed(layers: Layers) -> Layers:
    """The layers in the best of the orders that sweeps down and up come to."""
    above: dict[Node, list[Node]] = {}
    below: dict[Node, list[Node]] = {}
    for upper, lower in dict.fromkeys(_downwards(layers)):
        above.setdefault(lower, []).append(upper)
        below.setdefault(upper, []).append(lower)
    best, fewest = [list(row) for row in layers.rows], _crossings(layers, below)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        rows = layers.rows if down else layers.rows[::-1]
        beside = above if down else below
        for fixed, row in zip(rows, rows[1:]):
            place = {node: k for k, node in enumerate(fixed)}
            own = {node: k for k, node in enumerate(row)}
            row.sort(key=lambda n: (_mean([place[m] for m in beside.get(n, ()) if m in place], own[n]), own[n]))
        found = _crossings(layers, below)
        if found < fewest:
            best, fewest = [list(row) for row in layers.rows], found
    return Layers(best, layers.chains)


def _downwards(layers: Layers) -> list[tuple[Node, Node]]:
    layer = {node: k for k, row in enumerate(layers.rows) for node in row}
    return [(a, b) if layer[a] < layer[b] else (b, a) for a, b in layers.links]


def _crossings(layers: Layers, below: Mapping[Node, list[Node]]) -> int:
    total = 0
    for row, following in zip(layers.rows, layers.rows[1:]):
        place = {node: k for k, node in enumerate(following)}
        ends = [sorted(place[m] for m in below.get(node, ()) if m in place) for node in row]
        flat = [end for group in ends for end in group]
        total += sum(a > b for k, a in enumerate(flat) for b in flat[k + 1 :])
    return total


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


# ---------------------------------------------------------------- places


def place(layers: Layers, sizes: Mapping[Node, tuple[float, float]], gap: float = 24, between: float = 36) -> Placed:
    """Centres for boxes of the given sizes (a bend has none), `gap` apart in a layer, the layers `between` apart."""
    tops, bottoms, y = [], [], 0.0
    for row in layers.rows:
        height = max((sizes[n][1] for n in row if n in sizes), default=0.0)
        # A layer without boxes are the places where edges come in or leave: near to the first or last boxes.
        y -= 0.0 if height or not bottoms else between * 0.6
        tops.append(y)
        bottoms.append(y + height)
        y += height + between * (1.0 if height else 0.4)
    x = _across(layers, {n: sizes[n][0] if n in sizes else 0.0 for row in layers.rows for n in row}, gap)
    middle = {n: (tops[k] + bottoms[k]) / 2 for k, row in enumerate(layers.rows) for n in row}
    width = {n: sizes[n][0] if n in sizes else 0.0 for n in x}
    left = min((x[n] - width[n] / 2 for n in x), default=0.0)
    right = max((x[n] + width[n] / 2 for n in x), default=0.0)
    return Placed({n: (x[n] - left, middle[n]) for n in x}, right - left, bottoms[-1] if bottoms else 0.0, tops,
    bottoms)


def _across(layers: Layers, width: Mapping[Node, float], gap: float) -> dict[Node, float]:
    """Places from left to right: the middle of four layouts, each of which draws as many edges straight as it can when
    it looks up or down, and from the left or from the right (Brandes and Koepf 2001)."""
    above, below = _beside(layers)
    marked = _conflicts(layers, above)
    layouts = []
    for is_up in (True, False):
        rows = layers.rows if is_up else layers.rows[::-1]
        for is_left in (True, False):
            turned = rows if is_left else [row[::-1] for row in rows]
            root = _aligned(turned, above if is_up else below, marked)
            x = _compacted(turned, root, width, gap)
            layouts.append(x if is_left else {node: -at for node, at in x.items()})
    return _balanced(layouts, width)


def _beside(layers: Layers) -> tuple[dict[Node, list[Node]], dict[Node, list[Node]]]:
    """For each node those it is linked with in the layer above and in the layer below, from left to right."""
    place = {node: k for row in layers.rows for k, node in enumerate(row)}
    above: dict[Node, list[Node]] = {node: [] for node in place}
    below: dict[Node, list[Node]] = {node: [] for node in place}
    for upper, lower in dict.fromkeys(_downwards(layers)):
        above[lower].append(upper)
        below[upper].append(lower)
    for beside in (above, below):
        for nodes in beside.values():
            nodes.sort(key=place.__getitem__)
    return above, below


def _conflicts(layers: Layers, above: Mapping[Node, list[Node]]) -> set[tuple[Node, Node]]:
    """The links that cross a link between two bends, which is to be straight: both ways round."""
    marked = set()
    for upper, row in zip(layers.rows, layers.rows[1:]):
        place = {node: k for k, node in enumerate(upper)}
        straight = [(place[above[n][0]], k) for k, n in enumerate(row) if _is_inner(n, above)]
        for k, node in enumerate(row):
            if _is_inner(node, above):
                continue
            for other in above[node]:
                if any((place[other] - top) * (k - bottom) < 0 for top, bottom in straight):
                    marked |= {(other, node), (node, other)}
    return marked


def _is_inner(node: Node, above: Mapping[Node, list[Node]]) -> bool:
    return isinstance(node, Bend) and len(above[node]) == 1 and isinstance(above[node][0], Bend)


def _aligned(rows: list[list[Node]], beside: Mapping[Node, list[Node]], marked: set) -> dict[Node, Node]:
    """For each node the first one of the straight line it is on. A node goes under the median of those it is linked
    with in the row before, unless a line that is there already is in the way."""
    root = {node: node for row in rows for node in row}
    for before, row in zip(rows, rows[1:]):
        place = {node: k for k, node in enumerate(before)}
        reached = -1
        for node in row:
            near = sorted((n for n in beside[node] if n in place), key=place.__getitem__)
            for middle in dict.fromkeys(((len(near) - 1) // 2, len(near) // 2) if near else ()):
                other = near[middle]
                if root[node] == node and (other, node) not in marked and reached < place[other]:
                    root[node] = root[other]
                    reached = place[other]
    return root


def _compacted(rows: list[list[Node]], root: Mapping[Node, Node], width: Mapping[Node, float], gap: float):
    """Places for the lines, as far left as their neighbours allow, then moved right as far as those on the right do."""
    after: dict[Node, dict[Node, float]] = {}
    for row in rows:
        for a, b in zip(row, row[1:]):
            apart = (width[a] + width[b]) / 2 + gap
            known = after.setdefault(root[a], {})
            known[root[b]] = max(apart, known.get(root[b], 0.0))
    lines = list(dict.fromkeys(root[node] for row in rows for node in row))
    waiting = dict.fromkeys(lines, 0)
    for following in after.values():
        for line in following:
            waiting[line] += 1
    order = [line for line in lines if not waiting[line]]
    at = dict.fromkeys(lines, 0.0)
    for line in order:
        for other, apart in after.get(line, {}).items():
            at[other] = max(at[other], at[line] + apart)
            waiting[other] -= 1
            if not waiting[other]:
                order.append(other)
    for line in reversed(order):
        if after.get(line):
            at[line] = max(at[line], min(at[other] - apart for other, apart in after[line].items()))
    return {node: at[root[node]] for row in rows for node in row}


def _balanced(layouts: list[dict[Node, float]], width: Mapping[Node, float]) -> dict[Node, float]:
    """The mean of the two middle ones of four layouts, put over the narrowest: by their left ends, or by their right
    ends, in turn."""
    ends = [
        (min(at - width[n] / 2 for n, at in x.items()), max(at + width[n] / 2 for n, at in x.items()))
        for x in layouts
        if x
    ]
    if not ends:
        return {}
    low, high = min(ends, key=lambda end: end[1] - end[0])
    moved = []
    for k, (x, (left, right)) in enumerate(zip(layouts, ends)):
        shift = low - left if k % 2 == 0 else high - right
        moved.append({node: at + shift for node, at in x.items()})
    middle = {node: sorted(x[node] for x in moved)[1:3] for node in layouts[0]}
    return {node: sum(two) / 2 for node, two in middle.items()}
