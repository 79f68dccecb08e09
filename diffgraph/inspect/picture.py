"""A network as an SVG picture: boxes in layers, data flowing down, what is not opened as one box."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape

from diffgraph.inspect.layer_tree import ENTRY, EXIT, Box
from diffgraph.inspect.layered import Layers, Placed, arrange, place
from diffgraph.ir.text import shape_text

PADDING = 16
HEADER = 24
MARGIN = 12

#: Widths of letters, in units of the size of the type: sans serif, and monospaced.
_LETTER, _MONO = 0.56, 0.61

STYLE = """
.dg-net { --ink: #1b2430; --faint: #66727f; --edge: #8793a0; --paper: #ffffff; --layer: #e8f0fb; --layer-line: #7ba3d4;
  --function: #eef4ee; --function-line: #93b596; --block: #f4f1fa; --block-line: #a493c9; --port: #fdf3dc;
  --port-line: #d0a648; --result: #e4f5ef; --result-line: #58ab8f; --loss: #fce8e6; --loss-line: #d5807a;
  --formula: #ffffff; --formula-line: #b6bfc8; font-family: Inter, "Helvetica Neue", Helvetica, Arial, sans-serif; }
@media (prefers-color-scheme: dark) {
  .dg-net { --ink: #e6ebf1; --faint: #98a4b1; --edge: #6c7884; --paper: #14191f;
    --layer: #1c2c40; --layer-line: #48719f; --function: #1d2b20; --function-line: #527a56; --block: #241f33; --block-line: #6d5c96; --port: #332a14;
    --port-line: #93742e; --result: #14302a; --result-line: #3d806a; --loss: #3a1f1d; --loss-line: #99504b;
    --formula: #1a2027; --formula-line: #4a545e; } }
.dg-net rect { stroke-width: 1.2; fill: var(--formula); stroke: var(--formula-line); }
.dg-layer > rect, .dg-net-box > rect { fill: var(--layer); stroke: var(--layer-line); }
.dg-function > rect { fill: var(--function); stroke: var(--function-line); }
.dg-block > rect { fill: var(--block); stroke: var(--block-line); }
.dg-open > rect { fill-opacity: 0.35; }
.dg-input > rect, .dg-target > rect { fill: var(--port); stroke: var(--port-line); }
.dg-output > rect, .dg-metric > rect { fill: var(--result); stroke: var(--result-line); }
.dg-loss > rect { fill: var(--loss); stroke: var(--loss-line); }
.dg-parameter > rect, .dg-state > rect, .dg-carry > rect { stroke-dasharray: 3 3; }
.dg-net text { fill: var(--ink); font-size: 12.5px; }
.dg-net .dg-type { fill: var(--faint); font-weight: 400; }
.dg-net .dg-shape { fill: var(--faint); font: 10.5px ui-monospace, Menlo, Consolas, monospace; }
.dg-net .dg-label { font-weight: 600; }
.dg-formula > text > .dg-label { font: 11px ui-monospace, Menlo, Consolas, monospace; }
.dg-net path { fill: none; stroke: var(--edge); stroke-width: 1.3; }
.dg-net .dg-head { fill: var(--edge); stroke: none; }
""".strip()


@dataclass(frozen=True, eq=False)
class Inner:
    """What is inside an open box: the boxes by name, and where they stand."""

    boxes: dict[str, Drawn]
    layers: Layers
    placed: Placed


@dataclass(frozen=True, eq=False)
class Drawn:
    """A box with its size: its inside where it is open."""

    box: Box
    inner: Inner | None

    @cached_property
    def size(self) -> tuple[float, float]:
        if self.inner is None:
            return closed_size(self.box)
        header = len(self.box.label) * 12.5 * _LETTER + len(self.box.type) * 12.5 * _LETTER + 3 * PADDING
        width = max(self.inner.placed.width + 2 * PADDING, header)
        return width, self.inner.placed.height + HEADER + 2 * PADDING


def svg(tree: Box, opened: Collection[str] = ()) -> str:
    """The picture of a box with what is in it; `opened` are the names of the boxes inside that are open, too."""
    whole = _drawn(tree, {tree.name, *opened})
    width, height = whole.inner.placed.width + 2 * MARGIN, whole.inner.placed.height + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="dg-net" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.1f} {height:.1f}" role="img" aria-label="{escape(tree.label)}">',
        f"<style>{STYLE}</style>",
        '<rect class="dg-paper" width="100%" height="100%" style="fill: var(--paper); stroke: none"/>',
        *_inside(whole, MARGIN, MARGIN, MARGIN, MARGIN + whole.inner.placed.height),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def layers_of(box: Box) -> Layers:
    """What is inside a box, in layers; what comes from outside in the first, what leaves in the last."""
    entries = [name for name in dict.fromkeys(source for source, _ in box.edges) if name.startswith(ENTRY)]
    exits = [EXIT] if any(target == EXIT for _, target in box.edges) else []
    return arrange([*entries, *(b.name for b in box.boxes), *exits], box.edges, entries, exits, box.back)


def _drawn(box: Box, opened: set[str]) -> Drawn:
    if not box.boxes or box.name not in opened:
        return Drawn(box, None)
    boxes = {inner.name: _drawn(inner, opened) for inner in box.boxes}
    layers = layers_of(box)
    return Drawn(box, Inner(boxes, layers, place(layers, {name: drawn.size for name, drawn in boxes.items()})))


def closed_size(box: Box) -> tuple[float, float]:
    """Width and height of a box that is not open."""
    size = 11 * _MONO if box.kind == "formula" else 12.5 * _LETTER
    first = len(box.label) * size + (len(shown_type(box)) + 1) * 12.5 * _LETTER * bool(shown_type(box))
    width = max(first, len(shown_shapes(box)) * 10.5 * _MONO) + 22
    return max(width, 44), 40 if shown_shapes(box) else 26


def shown_type(box: Box) -> str:
    """The type of a box, where its label does not say it."""
    if box.kind == "carry":
        return "from step to step"
    own = box.label.rpartition(".")[2].rstrip("0123456789")
    return "" if box.type in (own, "group") else box.type


def shown_shapes(box: Box, most: int = 44) -> str:
    """The shapes of what a box makes."""
    text = ", ".join(shape_text(shape) if shape else "scalar" for shape in box.shapes)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def css_class(box: Box) -> str:
    """What a box looks like."""
    kind = "block" if box.boxes else {"net": "net-box"}.get(box.kind, box.kind)
    return f"dg-{kind}"


# ---------------------------------------------------------------- drawing


def _box(drawn: Drawn, x: float, y: float) -> Iterator[str]:
    width, height = drawn.size
    box = drawn.box
    is_open = drawn.inner is not None
    radius = 13 if box.kind in ("input", "target", "output", "loss", "metric") else 5
    yield f'<g class="{css_class(box)}{" dg-open" if is_open else ""}"><title>{escape(_tooltip(box))}</title>'
    if box.boxes and not is_open:
        yield f'<rect x="{x + 4:.1f}" y="{y + 4:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}"/>'
    yield f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}"/>'
    type = shown_type(box)
    label = f'<tspan class="dg-label">{escape(box.label)}</tspan>'
    label += f' <tspan class="dg-type">{escape(type)}</tspan>' if type else ""
    if is_open:
        yield f'<text x="{x + 10:.1f}" y="{y + 17:.1f}">{label}</text>'
        inner_x = x + (width - drawn.inner.placed.width) / 2
        yield from _inside(drawn, inner_x, y + HEADER + PADDING, y, y + height)
    else:
        shapes = shown_shapes(box)
        yield f'<text x="{x + width / 2:.1f}" y="{y + 17:.1f}" text-anchor="middle">{label}</text>'
        if shapes:
            place = f'x="{x + width / 2:.1f}" y="{y + 31:.1f}" text-anchor="middle"'
            yield f'<text class="dg-shape" {place}>{escape(shapes)}</text>'
    yield "</g>"


def _inside(drawn: Drawn, x: float, y: float, top: float, bottom: float) -> Iterator[str]:
    """The edges and boxes inside an open box; x, y: the corner of its inside; top, bottom: of the box itself."""
    inner = drawn.inner
    for chain in inner.layers.chains.values():
        yield from _edge(_points(inner, chain, x, y, top, bottom), chain[-1] != EXIT or drawn.box.name == "")
    for name, one in inner.boxes.items():
        centre_x, centre_y = inner.placed.centres[name]
        width, height = one.size
        yield from _box(one, x + centre_x - width / 2, y + centre_y - height / 2)


def _points(inner: Inner, chain: list, x: float, y: float, top: float, bottom: float) -> list[tuple[float, float]]:
    """Where an edge goes through: the bottom of its source, the layers between, the top of its target."""
    layer = {node: k for k, row in enumerate(inner.layers.rows) for node in row}
    placed = inner.placed
    is_down = layer[chain[0]] <= layer[chain[-1]]
    points = []
    for node in chain:
        at, _ = placed.centres[node]
        if str(node).startswith(ENTRY) and node not in inner.boxes:
            points.append((x + at, top))
        elif node == EXIT:
            points.append((x + at, bottom))
        elif node in inner.boxes:
            height = inner.boxes[node].size[1]
            middle = placed.centres[node][1]
            half = height / 2 if (node == chain[0]) == is_down else -height / 2
            at += _port(inner, chain, node)
            points.append((x + at, y + middle + half))
        else:
            ends = (placed.tops[layer[node]], placed.bottoms[layer[node]])
            points += [(x + at, y + end) for end in (ends if is_down else ends[::-1])]
    return points


def _port(inner: Inner, chain: list, node: str) -> float:
    """How far from the middle of a box an edge meets it: at the port inside, where the box is open."""
    own = inner.boxes[node].inner
    if own is None:
        return 0.0
    port = ENTRY + str(chain[0]).removeprefix(ENTRY) if node == chain[-1] else EXIT
    return own.placed.centres[port][0] - own.placed.width / 2 if port in own.placed.centres else 0.0


def _edge(points: list[tuple[float, float]], has_head: bool) -> Iterator[str]:
    """A curve that leaves and meets every point upright."""
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        bend = (y1 - y0) / 2
        straight = abs(x0 - x1) < 0.05
        path.append(f"L{x1:.1f} {y1:.1f}" if straight else
                    f"C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}")  # fmt: skip
    yield f'<path d="{"".join(path)}"/>'
    if has_head:
        x, y = points[-1]
        up = 1 if points[-2][1] <= y else -1
        yield f'<path class="dg-head" d="M{x:.1f} {y:.1f}l-3.6 {-7 * up}h7.2z"/>'


def _tooltip(box: Box) -> str:
    parts = [box.name or box.label, f"{box.type}({box.settings})" if box.settings else box.type]
    parts += [shown_shapes(box, 200), str(box.span) if box.span is not None else ""]
    return "\n".join(part for part in parts if part)
