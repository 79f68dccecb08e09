"""Operations that ONNX defines element by element."""

from __future__ import annotations

from collections.abc import Callable

from diffgraph.interop.onnx.operation import Operation

_SAME = "Abs Exp Log Sqrt Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Sigmoid Softplus Erf Relu Floor Ceil Round Sign"

#: Operation -> text with `{0}`, `{1}` for its inputs and `{name}` for attributes, whose defaults follow.
FORMULAS: dict[str, tuple[str, dict]] = {
    **{name: (f"{name.lower()}({{0}})", {}) for name in _SAME.split()},
    "Acosh": ("log({0} + sqrt({0}^2 - 1))", {}),
    "Asinh": ("sign({0}) * log(abs({0}) + sqrt({0}^2 + 1))", {}),
    "Atanh": ("log((1 + {0}) / (1 - {0})) / 2", {}),
    "Celu": ("celu({0}, {alpha})", {"alpha": 1.0}),
    "Elu": ("elu({0}, {alpha})", {"alpha": 1.0}),
    "Selu": (
        "{gamma} * where({0} > 0, {0}, {alpha} * (exp(min({0}, 0)) - 1))",
        {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
    ),
    "LeakyRelu": ("leaky_relu({0}, {alpha})", {"alpha": 0.01}),
    "ThresholdedRelu": ("where({0} > {alpha}, {0}, 0)", {"alpha": 1.0}),
    "HardSigmoid": ("clamp({alpha} * {0} + {beta}, 0, 1)", {"alpha": 0.2, "beta": 0.5}),
    "HardSwish": ("{0} * clamp({0} / 6 + 1 / 2, 0, 1)", {}),
    "Mish": ("mish({0})", {}),
    "Softsign": ("{0} / (1 + abs({0}))", {}),
    "Swish": ("{0} * sigmoid({alpha} * {0})", {"alpha": 1.0}),
    "Shrink": (
        "where({0} < -{lambd}, {0} + {bias}, where({0} > {lambd}, {0} - {bias}, 0))",
        {"lambd": 0.5, "bias": 0.0},
    ),
    "Neg": ("-{0}", {}),
    "Not": ("not {0}", {}),
    "Reciprocal": ("1 / {0}", {}),
    "IsNaN": ("is_nan({0})", {}),
    "PRelu": ("where({0} < 0, {1} * {0}, {0})", {}),
    "Add": ("{0} + {1}", {}),
    "Sub": ("{0} - {1}", {}),
    "Mul": ("{0} * {1}", {}),
    "And": ("{0} and {1}", {}),
    "Or": ("{0} or {1}", {}),
    "Xor": ("{0} != {1}", {}),
    "Equal": ("{0} == {1}", {}),
    "Less": ("{0} < {1}", {}),
    "LessOrEqual": ("{0} <= {1}", {}),
    "Greater": ("{0} > {1}", {}),
    "GreaterOrEqual": ("{0} >= {1}", {}),
    "Where": ("where({0}, {1}, {2})", {}),
    "MatMul": ("{0} @ {1}", {}),
    "Identity": ("{0}", {}),
    "GlobalAveragePool": ("mean({0}, axis = 2..{rank0}, keep = true)", {}),
    "GlobalMaxPool": ("max({0}, axis = 2..{rank0}, keep = true)", {}),
    "MeanVarianceNormalization": (
        "({0} - mean({0}, axis = {axes}, keep = true))"
        " / (std({0}, axis = {axes}, keep = true) + 1e-9)",
        {"axes": [0, 2, 3]},
    ),
}


def formula(template: str, defaults: dict) -> Callable[[Operation], str]:
    def text(op: Operation) -> str:
        attributes = {name: op.attribute(name, default) for name, default in defaults.items()}
        return template.format(*(op.atom(k) for k in range(len(op.node.inputs))), rank0=op.rank(0), **attributes)

    return text


def folded(sign: str) -> Callable[[Operation], str]:
    """An operation of any number of tensors."""
    if sign in ("max", "min"):
        return lambda op: f"{sign}({', '.join(op.all_inputs())})" if len(op.node.inputs) > 1 else op.atom(0)
    return lambda op: f" {sign} ".join(op.all_inputs())


def mean(op: Operation) -> str:
    return f"({' + '.join(op.all_inputs())}) / {len(op.node.inputs)}"


def div(op: Operation) -> str:
    a, b = op.atom(0), op.atom(1)
    if op.kind(0) != "int":
        return f"{a} / {b}"
    # Whole numbers are divided towards zero, where `//` floors.
    return f"where({a} % {b} != 0 and ({a} < 0) != ({b} < 0), {a} // {b} + 1, {a} // {b})"


def mod(op: Operation) -> str:
    a, b = op.atom(0), op.atom(1)
    if not op.attribute("fmod", 0):
        return f"{a} % {b}"
    return f"sign({a}) * (abs({a}) % abs({b}))"


def power(op: Operation) -> str:
    power = op.array(1)
    if power is not None and power.size == 1 and float(power.reshape(())).is_integer():
        return f"{op.atom(0)}^{op.whole(int(power.reshape(())))}"
    return f"{op.atom(0)}^{op.atom(1)}"


def clip(op: Operation) -> str:
    result = op.atom(0)
    low, high = op.attribute("min", None), op.attribute("max", None)
    bounds = (op.atom(1) if op.has(1) else low, op.atom(2) if op.has(2) else high)
    for function, bound in zip(("max", "min"), bounds):
        result = f"{function}({result}, {bound})" if bound is not None else result
    return result


def cast(op: Operation) -> str:
    source, target = op.kind(0), op.result_kind()
    return op.atom(0) if source == target else f"{target}({op.atom(0)})"


def gelu(op: Operation) -> str:
    approximate = op.attribute("approximate", "none")
    return f'gelu({op.atom(0)}, "tanh")' if approximate == "tanh" else f"gelu({op.atom(0)})"


def is_inf(op: Operation) -> str:
    a = op.atom(0)
    parts = [f"{a} == inf"] * op.attribute("detect_positive", 1) + [f"{a} == -inf"] * op.attribute("detect_negative", 1)
    return " or ".join(parts) or f"{a} != {a} and false"
