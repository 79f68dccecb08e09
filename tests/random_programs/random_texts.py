"""Random programs of the language, as text: every statement reads tensors that are there, with shapes that fit."""

from dataclasses import dataclass

from hypothesis import strategies as st

#: Sizes of the axes, by letter of the index that runs over them.
SIZES = {"n": "N", "i": 3, "j": 4, "k": 2, "p": 6}


@dataclass(frozen=True)
class Made:
    """A tensor of the program: its name and the indices of its axes."""

    name: str
    axes: str

    def at(self, **places) -> str:
        """An element, at the indices of the axes or at other places."""
        if not self.axes:
            return self.name
        return f"{self.name}[{', '.join(places.get(a, a) for a in self.axes)}]"


UNARY = [
    "tanh({a})",
    "exp(-{a}^2)",
    "sigmoid({a})",
    "relu({a})",
    "abs({a})",
    "{a}^3",
    "log(1 + {a}^2)",
    "sqrt(1 + {a}^2)",
]
BINARY = [
    "{a} * {b}",
    "{a} + {b}",
    "{a} - 2 * {b}",
    "{a} / (1 + {b}^2)",
    "max({a}, {b})",
    "where({a} > {b}, {a}, {b} / 2)",
]
PLACES = {
    "i": ["2 - i", "i", "i // 2", "(i + 1) % 3", "0"],
    "j": ["3 - j", "j", "j // 2", "(j + 2) % 4", "1"],
    "k": ["1 - k", "k", "0"],
    "p": ["5 - p", "p % 4", "p"],
}
OUTSIDE = {"i": ["i - 1", "i + 1"], "j": ["j - 1", "j + 2", "2 * j - 1"]}


@st.composite
def programs(draw, statements=6):
    """(text, parameter names): a net with a scalar loss that depends on two parameters and an input."""
    made = [Made("x", "nij"), Made("w", "ij"), Made("v", "jk")]
    lines = []
    for number in range(statements):
        name = f"t{number}"
        line, axes = draw(statement(made, name))
        lines.append(f"    {line}")
        made.append(Made(name, axes))
    last = " + ".join(f"mean({m.name} * {m.name})" for m in made[-3:])
    ports = ["    input  x[N, 3, 4]", "    param w[3, 4] ~ normal(0, 1)", "    param v[4, 2] ~ normal(0, 1)"]
    return "\n".join(["net random {", *ports, *lines, f"    output {made[-1].name}", f"    loss {last}", "}"])


@st.composite
def statement(draw, made, name):
    kind = draw(st.sampled_from(["unary", "binary", "places", "guarded", "reduce", "contract", "index", "count"]))
    a = draw(st.sampled_from(made))
    b = draw(st.sampled_from(made))
    axes = "".join(sorted(set(a.axes) | set(b.axes), key="nijkp".index))
    if kind == "unary" or not a.axes and kind in ("places", "guarded", "reduce"):
        return f"{name}{_left(a.axes)} = " + draw(st.sampled_from(UNARY)).format(a=a.at()), a.axes
    if kind == "binary":
        return f"{name}{_left(axes)} = " + draw(st.sampled_from(BINARY)).format(a=a.at(), b=b.at()), axes
    if kind == "places":
        places = {x: draw(st.sampled_from(PLACES[x])) for x in a.axes if x in PLACES}
        return f"{name}{_left(a.axes)} = {a.at(**places)} * 1.5", a.axes
    if kind == "guarded":
        places = {x: draw(st.sampled_from(OUTSIDE[x])) for x in a.axes if x in OUTSIDE}
        return f"{name}{_left(a.axes)} = ({a.at(**places)} else 0) + {a.at()} / 3", a.axes
    if kind == "reduce":
        gone = draw(st.sampled_from(a.axes))
        left = a.axes.replace(gone, "")
        op = draw(st.sampled_from(["sum", "max", "min", "mean", "prod"]))
        return f"{name}{_left(left)} = {op}[{_bound(gone)}]({a.at()} / 2)", left
    if kind == "contract":
        shared = sorted(set(a.axes) & set(b.axes) - {"n"})
        if not shared:
            return f"{name}{_left(axes)} = {a.at()} * {b.at()}", axes
        gone = draw(st.sampled_from(shared))
        left = axes.replace(gone, "")
        return f"{name}{_left(left)} = sum[{_bound(gone)}]({a.at()} * {b.at()}) / 2", left
    if kind == "index":
        letter = draw(st.sampled_from("ij"))
        axes = "".join(sorted(set(a.axes) | {letter}, key="nijkp".index))
        return f"{name}{_left(axes)} = {a.at()} * ({letter} + 1) if {letter} > 0 else {a.at()}", axes
    place = draw(st.sampled_from(["i", "i + 1", "2 * i"]))
    source = a if a.axes == "nij" else made[0]
    return f"{name}[n, p < 6] = sum[i, j]({source.at()} if p == {place} else 0)", "np"


def _bound(axis: str) -> str:
    return axis if axis == "n" else f"{axis} < {SIZES[axis]}"


def _left(axes: str) -> str:
    if not axes:
        return ""
    return "[" + ", ".join(_bound(a) for a in axes) + "]"
