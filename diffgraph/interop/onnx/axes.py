"""Operations along axes: reductions, normalizations, orders."""

from __future__ import annotations

from collections.abc import Callable

from diffgraph.interop.onnx.operation import Operation


def reduced(before: str, function: str, after: str) -> Callable[[Operation], str]:
    def text(op: Operation) -> str:
        x = before.format(op.atom(0))
        axes = op.axes()
        if axes == []:
            return after.format(x)
        of_bools = {"max": "any", "min": "all"} if op.kind(0) == "bool" else {}
        name = of_bools.get(function, function)
        return after.format(f"{name}({x}, axis = {axes}, keep = {op.flag('keepdims', 1)})")

    return text


def log_sum_exp(op: Operation) -> str:
    axes, keep = op.axes(), op.flag("keepdims", 1)
    if axes == []:
        return op.atom(0)
    top = op.let("top", f"max({op.atom(0)}, axis = {axes}, keep = true)")
    safe = op.let("safe", f"where(abs({top}) == inf, 0, {top})")
    last = safe if keep == "true" else op.let("last", f"max({safe}, axis = {axes}, keep = false)")
    return f"{last} + log(sum(exp({op.atom(0)} - {safe}), axis = {axes}, keep = {keep}))"


def extreme_place(name: str) -> Callable[[Operation], str]:
    def text(op: Operation) -> str:
        axis, keep = op.axis("axis", 0), op.flag("keepdims", 1)
        if not op.attribute("select_last_index", 0):
            return f"{name}({op.atom(0)}, axis = {axis}, keep = {keep})"
        turned = op.turned(0, axis)
        return f"{op.size(0, axis) - 1} - {name}({turned}, axis = {axis}, keep = {keep})"

    return text


def softmax(name: str) -> Callable[[Operation], str]:
    def text(op: Operation) -> str:
        if op.graph.version >= 13:
            return f"{name}({op.atom(0)}, axis = {op.axis('axis', -1)})"
        # Before version 13 all axes from the given one on counted as one.
        axes = list(range(op.axis("axis", 1), op.rank(0)))
        return f"{name}({op.atom(0)}, axis = {axes if len(axes) > 1 else axes[0]})"

    return text


def hardmax(op: Operation) -> str:
    if op.graph.version < 13:
        raise op.refused("of a version before 13")
    axis = op.axis("axis", -1)
    bounded = op.indices(bounded=True)
    i = op.bare(bounded)
    best = op.let("best", f"argmax({op.atom(0)}, axis = {axis}, keep = true)")
    at = [x if k != axis else "0" for k, x in enumerate(i)]
    return op.element(bounded, f"1.0 if {best}[{', '.join(at)}] == {i[axis]} else 0.0")


def cumulated(op: Operation) -> str:
    axis = int(op.known(1).reshape(())) % op.rank(0)
    bounded = op.indices(bounded=True)
    i = op.bare(bounded)
    at = [x if k != axis else "s" for k, x in enumerate(i)]
    sign = (">" if op.attribute("reverse", 0) else "<") + ("" if op.attribute("exclusive", 0) else "=")
    name = "sum" if op.node.op == "CumSum" else "prod"
    rest = "0" if name == "sum" else "1"
    body = f"{name}[s < {op.size(0, axis)}]({op.read(0, at)} if s {sign} {i[axis]} else {rest})"
    return op.element(bounded, body)


def top_k(op: Operation) -> None:
    axis, count = op.axis("axis", -1), int(op.known(1).reshape(()))
    sign = "" if op.attribute("largest", 1) else "-"
    values, places = op.outputs(2)
    op.write(f"{values}, {places} = top_k({sign}({op.atom(0)}), {count}, axis = {axis})")
    if sign:
        op.write(f"{values} = -{values}")


def layer_norm(op: Operation) -> None:
    axis, eps = op.axis("axis", -1), op.attribute("epsilon", 1e-5)
    axes = list(range(axis, op.rank(0)))
    x, (result, mean, scale) = op.atom(0), op.outputs(3)
    if op.node.op == "RMSNormalization":
        op.write(f"{result} = {x} / sqrt(mean({x}^2, axis = {axes}, keep = true) + {eps}) * {op.atom(1)}")
        return
    op.write(f"{mean} = mean({x}, axis = {axes}, keep = true)")
    op.write(f"{scale} = 1 / sqrt(mean(({x} - {mean})^2, axis = {axes}, keep = true) + {eps})")
    shift = f" + {op.atom(2)}" if op.has(2) else ""
    op.write(f"{result} = ({x} - {mean}) * {scale} * {op.atom(1)}{shift}")


def instance_norm(op: Operation) -> str:
    axes = list(range(2, op.rank(0)))
    x = op.atom(0)
    centred = op.let("centred", f"{x} - mean({x}, axis = {axes}, keep = true)")
    eps = op.attribute("epsilon", 1e-5)
    scale, shift = op.by_channel(1), op.by_channel(2)
    return f"{centred} / sqrt(mean({centred}^2, axis = {axes}, keep = true) + {eps}) * {scale} + {shift}"


def group_norm(op: Operation) -> str:
    groups, shape = op.attribute("num_groups", 1), op.shape(0)
    split = op.let("split", f"reshape({op.atom(0)}, [{shape[0]}, {groups}, -1])")
    centred = op.let("centred", f"{split} - mean({split}, axis = 2, keep = true)")
    eps = op.attribute("epsilon", 1e-5)
    unit = f"reshape({centred} / sqrt(mean({centred}^2, axis = 2, keep = true) + {eps}), {op.listed(shape)})"
    return f"{unit} * {op.by_channel(1)} + {op.by_channel(2)}"


def batch_norm(op: Operation) -> str:
    if op.attribute("training_mode", 0):
        raise op.refused("in training mode")
    eps = op.attribute("epsilon", 1e-5)
    scale, shift, mean, variance = (op.by_channel(k) for k in (1, 2, 3, 4))
    return f"({op.atom(0)} - {mean}) / sqrt({variance} + {eps}) * {scale} + {shift}"


def lrn(op: Operation) -> str:
    size, i = op.attribute("size", 1), op.indices()
    alpha, beta, bias = op.attribute("alpha", 1e-4), op.attribute("beta", 0.75), op.attribute("bias", 1.0)
    at = [x if k != 1 else f"{x} + s - {(size - 1) // 2}" for k, x in enumerate(i)]
    square = f"sum[s < {size}](({op.read(0, at)} else 0)^2)"
    return op.element(i, f"{op.read(0, i)} / ({bias} + {alpha / size!r} * {square})^{beta}")


def lp_norm(op: Operation) -> str:
    axis, x = op.axis("axis", -1), op.atom(0)
    size = f"abs({x})" if op.attribute("p", 2) == 1 else f"{x}^2"
    total = op.let("total", f"sum({size}, axis = {axis}, keep = true)")
    length = total if op.attribute("p", 2) == 1 else op.let("length", f"sqrt({total})")
    return f"where({length} == 0, 0, {x} / where({length} == 0, 1, {length}))"


def dropout(op: Operation) -> str:
    if op.has(2) and op.known(2).reshape(()):
        raise op.refused("in training mode")
    if len(op.node.outputs) > 1 and op.node.outputs[1]:
        op.write(f"{op.name(op.node.outputs[1])}[{', '.join(op.indices(bounded=True))}] = true")
    return op.atom(0)
