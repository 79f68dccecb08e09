"""Operations that move elements and compute none."""

from __future__ import annotations

from diffgraph.interop.onnx.operation import Operation


def reshape(op: Operation) -> str:
    shape = op.result_shape()
    return f"reshape({op.atom(0)}, {op.listed(shape)})"


def transpose(op: Operation) -> str:
    order = op.attribute("perm", list(range(op.rank(0)))[::-1])
    i = op.indices()
    at = [""] * len(i)
    for k, axis in enumerate(order):
        at[axis] = i[k]
    return op.element(i, op.read(0, at))


def expand(op: Operation) -> str:
    i = op.indices(bounded=True)
    own = op.shape(0)
    names = op.bare(i)[len(i) - len(own) :]
    return op.element(i, op.read(0, ["0" if size == 1 else n for size, n in zip(own, names)]))


def tile(op: Operation) -> str:
    i = op.indices(bounded=True)
    return op.element(i, op.read(0, [f"{n} % {size}" for n, size in zip(op.bare(i), op.shape(0))]))


def concat(op: Operation) -> str:
    return f"concat({', '.join(op.all_inputs())}, axis = {op.axis('axis', 0)})"


def split(op: Operation) -> None:
    axis = op.axis("axis", 0)
    start = 0
    for result in op.node.outputs:
        count = op.shape_of(result)[axis]
        i = op.indices(result)
        i[axis] = f"{i[axis]} < {count}"
        at = op.bare(i)
        at[axis] = f"{at[axis]} + {start}"
        op.write(f"{op.name(result)}[{', '.join(i)}] = {op.read(0, at)}")
        start += count


def sliced(op: Operation) -> str:
    rank, shape = op.rank(0), op.shape(0)
    starts, ends = op.integers("starts", 1), op.integers("ends", 2)
    axes = op.integers("axes", 3) or list(range(len(starts)))
    steps = op.integers("steps", 4) or [1] * len(starts)
    i = op.indices(bounded=True)
    at = op.bare(i)
    for start, _, axis, step in zip(starts, ends, axes, steps):
        axis %= rank
        size = shape[axis]
        first = start + size if start < 0 else start
        first = min(max(first, 0), size - 1) if step < 0 else min(max(first, 0), size)
        at[axis] = f"{first} + {step} * {at[axis]}" if step != 1 else f"{at[axis]} + {first}"
    return op.element(i, op.read(0, at))


def gather(op: Operation) -> str:
    axis, count = op.axis("axis", 0), op.rank(1)
    i = op.indices()
    place = op.read(1, i[axis : axis + count])
    at = [*i[:axis], f"{place} % {op.size(0, axis)}", *i[axis + count :]]
    return op.element(i, op.read(0, at))


def gather_elements(op: Operation) -> str:
    axis, i = op.axis("axis", 0), op.indices()
    at = [x if k != axis else f"{op.read(1, i)} % {op.size(0, axis)}" for k, x in enumerate(i)]
    bounded = op.indices(bounded=True)
    return op.element(bounded, op.read(0, at))


def gather_nd(op: Operation) -> str:
    batch, depth = op.attribute("batch_dims", 0), op.shape(1)[-1]
    i = op.indices(bounded=True)
    names = op.bare(i)
    outer = names[: op.rank(1) - 1]
    places = [f"{op.read(1, [*outer, str(k)])} % {op.size(0, batch + k)}" for k in range(depth)]
    return op.element(i, op.read(0, [*outer[:batch], *places, *names[op.rank(1) - 1 :]]))


def pad(op: Operation) -> str:
    mode, rank = op.attribute("mode", "constant"), op.rank(0)
    pads = op.integers("pads", 1)
    axes = [a % rank for a in op.integers("axes", 3)] or list(range(rank))
    before = dict(zip(axes, pads[: len(axes)]))
    i = op.indices(bounded=True)
    at = [f"{n} - {before.get(k, 0)}" for k, n in enumerate(op.bare(i))]
    if mode == "constant":
        value = op.literal(2) if op.has(2) else op.attribute("value", 0)
        return op.element(i, f"({op.read(0, at)} else {value})")
    for k in axes:
        last = op.size(0, k) - 1
        turned = f"{last} - abs({last} - abs({at[k]}))"
        at[k] = {"edge": f"clamp({at[k]}, 0, {last})", "reflect": f"clamp({turned}, 0, {last})",
                 "wrap": f"({at[k]}) % {last + 1}"}[mode]  # fmt: skip
    return op.element(i, op.read(0, at))


def depth_to_space(op: Operation) -> str:
    n, c, h, w = op.shape(0)
    b = op.attribute("blocksize", 1)
    first = [n, b, b, c // b**2, h, w] if op.attribute("mode", "DCR") == "DCR" else [n, c // b**2, b, b, h, w]
    split = op.let("split", f"reshape({op.atom(0)}, {op.listed(first)})")
    at = "n, p, q, c, h, w" if op.attribute("mode", "DCR") == "DCR" else "n, c, p, q, h, w"
    op.write(f"{op.extra('mixed')}[n, c, h, p, w, q] = {split}[{at}]")
    return f"reshape({op.extra('mixed')}, {op.listed(op.result_shape())})"


def space_to_depth(op: Operation) -> str:
    n, c, h, w = op.shape(0)
    b = op.attribute("blocksize", 1)
    split = op.let("split", f"reshape({op.atom(0)}, {op.listed([n, c, h // b, b, w // b, b])})")
    at = "n, p, q, c, h, w" if op.attribute("mode", "DCR") == "DCR" else "n, c, p, q, h, w"
    op.write(f"{op.extra('mixed')}[{at}] = {split}[n, c, h, p, w, q]")
    return f"reshape({op.extra('mixed')}, {op.listed(op.result_shape())})"


def one_hot(op: Operation) -> str:
    axis, depth = op.axis("axis", -1, op.rank(0) + 1), int(op.known(1).reshape(()))
    off, on = op.known(2)
    i = op.indices()
    label = op.read(0, [x for k, x in enumerate(i) if k != axis])
    from_end = f"({label} + {depth} if {label} < 0 else {label})"
    bounded = [x if k != axis else f"{x} < {depth}" for k, x in enumerate(i)]
    is_float = op.result_kind() == "float"
    values = (float(on), float(off)) if is_float else (int(on), int(off))
    return op.element(bounded, f"{values[0]} if {from_end} == {i[axis]} else {values[1]}")


def trilu(op: Operation) -> str:
    shift = int(op.known(1).reshape(())) if op.has(1) else 0
    sign = ">=" if op.attribute("upper", 1) else "<="
    i = op.indices()
    rest = "false" if op.kind(0) == "bool" else "0"
    return op.element(i, f"{op.read(0, i)} if {i[-1]} - {i[-2]} {sign} {shift} else {rest}")


def eye_like(op: Operation) -> str:
    i = op.indices(bounded=True)
    a, b = op.bare(i)
    one, zero = {"float": ("1.0", "0.0"), "bool": ("true", "false")}.get(op.result_kind(), ("1", "0"))
    return op.element(i, f"{one} if {b} - {a} == {op.attribute('k', 0)} else {zero}")
