"""Random programs: chains of the kinds of definition that networks are made of, with shapes that do not divide each
other."""

import random

import numpy as np

from diffgraph.autodiff.differentiate import gradients
from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import symbol
from diffgraph.ir.expression import Call, Const, Index, Read
from diffgraph.ir.form import Form
from diffgraph.ir.program import Builder, Commit, Definition, Origin, Output, Tensor, Term
from diffgraph.ir.simplify import ZERO, add, call, mul, where

N = symbol("N")
BATCH = 3


def place(constant, *terms):
    return affine(constant, [(Index(k), c) for k, c in terms])


class Maker:
    """Adds random definitions to a program. Each method makes one kind, or None where no tensor suits it."""

    def __init__(self, seed: int, steps: int):
        self.rng = random.Random(seed)
        self.builder = Builder()
        for hint, shape in (("x", (N, 3, 5)), ("w", (4, 3)), ("v", (3,)), ("z", (N, 4)), ("k", (2, 3, 3))):
            self.builder.input(hint, shape, "parameter" if hint in "wvk" else "input")
        self.token = self.builder.input("token", (N,), "input", kind="int", bound=4)
        self.state = self.builder.input("memory", (3,), "state")
        self.step = self.builder.input("step", (), "run", kind="int")
        self.floats = [i.tensor for i in self.builder.inputs if i.tensor.kind == "float"]
        kinds = [getattr(self, name) for name in KINDS]
        while len(self.builder.statements) < steps:
            made = self.rng.choice(kinds)()
            if made is not None and made.kind == "float":
                self.floats.append(made)

    # ------------------------------------------------------------------------------------------ parts

    def tensor(self, rank=None) -> Tensor:
        """One of the last tensors, mostly."""
        fitting = [t for t in self.floats if rank is None or len(t.shape) >= rank]
        return self.rng.choice(fitting[-6:] if self.rng.random() < 0.7 else fitting)

    def define(self, domain, rank, tensors, body, op="sum", hint="t"):
        """The first `rank` axes of the domain are written. Results stay of the order of 1."""
        self.builder.origin = Origin(f"layer{len(self.builder.statements)}")
        write = tuple(index(k) for k in range(rank))
        form = Form(tuple(domain), op, write, tuple(domain[:rank]), tuple(t.operand for t in tensors), body)
        return self.builder.define(hint, (form, tuple(t.name for t in tensors)), kind="float")

    def read(self, slot, *axes):
        return Read(slot, tuple(index(k) for k in axes), None)

    # ------------------------------------------------------------------------------------------ maps

    def function(self):
        x = self.tensor()
        here = self.read(0, *range(len(x.shape)))
        bodies = [call(f, here) for f in ("tanh", "sigmoid", "relu", "sin", "abs", "softplus")]
        bodies += [mul(here, here, Const(0.3)), add(here, Const(0.5)), call("recip", add(Const(1.5), mul(here, here)))]
        bodies += [where(call("gt", here, Const(0.2)), call("exp", mul(Const(-1.0), here, here)), ZERO)]
        return self.define(x.shape, len(x.shape), [x], self.rng.choice(bodies), hint="f")

    def broadcast(self):
        x, y = self.tensor(), self.tensor()
        axes, left = [], list(range(len(x.shape)))
        for extent in y.shape:
            fitting = [k for k in left if x.shape[k] == extent]
            if not fitting:
                return None
            axes.append(self.rng.choice(fitting))
            left.remove(axes[-1])
        a, b = self.read(0, *range(len(x.shape))), self.read(1, *axes)
        bodies = [add(a, b), mul(a, b), call("max", a, b), where(call("lt", a, b), a, mul(Const(0.1), b))]
        bodies += [mul(a, call("recip", call("sqrt", add(Const(1.0), mul(b, b))))), call("sub", a, b)]
        return self.define(x.shape, len(x.shape), [x, y], self.rng.choice(bodies), hint="b")

    def shift(self):
        x = self.tensor(1)
        axis = self.rng.choice([k for k, s in enumerate(x.shape) if isinstance(s, int)] or [None])
        if axis is None:
            return None
        places = [index(k) for k in range(len(x.shape))]
        places[axis] = place(self.rng.choice([-2, -1, 1]), (axis, self.rng.choice([1, 1, -1, 2])))
        body = Read(0, tuple(places), self.rng.choice([ZERO, Const(0.7)]))
        return self.define(x.shape, len(x.shape), [x], body, hint="s")

    def transpose(self):
        x = self.tensor(2)
        order = self.rng.sample(range(len(x.shape)), len(x.shape))
        body = self.read(0, *(order.index(k) for k in range(len(x.shape))))
        return self.define([x.shape[k] for k in order], len(x.shape), [x], body, hint="p")

    def flatten(self):
        x = self.tensor(3)
        if not all(isinstance(s, int) for s in x.shape[-2:]):
            return None
        a, b = x.shape[-2:]
        rank = len(x.shape) - 1
        digits = (affine(0, ((call(f, Index(rank - 1), Const(b)), 1),)) for f in ("floordiv", "mod"))
        body = Read(0, (*(index(k) for k in range(rank - 1)), *digits), None)
        return self.define((*x.shape[:-2], a * b), rank, [x], mul(Const(1.5), body), hint="flat")

    def reshape(self):
        x = self.tensor(2)
        if not isinstance(x.shape[-1], int) or not isinstance(x.shape[-2], int):
            return None
        return self.builder.reshape("view", x.name, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))

    def draw(self):
        x = self.tensor(1)
        strides, element = 1, []
        for k in reversed(range(len(x.shape))):
            element.append((Index(k), strides))
            strides = strides * x.shape[k]
        if any(not isinstance(c, int) for _, c in element):
            return None
        site = len(self.builder.statements)
        random_number = Call("random", (Const(5), self.read(1), Const(site), affine(0, element)))
        body = mul(self.read(0, *range(len(x.shape))), random_number)
        return self.define(x.shape, len(x.shape), [x, self.step], body, hint="drawn")

    # ------------------------------------------------------------------------------------------ reductions

    def reduction(self):
        x = self.tensor(1)
        rank = len(x.shape)
        kept = sorted(self.rng.sample(range(rank), self.rng.randint(0, rank - 1)))
        order = [*kept, *(k for k in range(rank) if k not in kept)]
        domain = [x.shape[k] for k in order]
        body = self.read(0, *(order.index(k) for k in range(rank)))
        op = self.rng.choice(["sum", "sum", "sum", "max", "min", "prod"])
        scaled = mul(Const(0.25), body) if op == "sum" else call("tanh", body)
        return self.define(domain, len(kept), [x], scaled, op, hint=op if op == "sum" else f"{op}imum")

    def contraction(self):
        a, b = self.tensor(1), self.tensor(1)
        pairs = [(i, j) for i, s in enumerate(a.shape) for j, t in enumerate(b.shape) if s == t]
        if not pairs or len(a.shape) + len(b.shape) > 5:
            return None
        i, j = self.rng.choice(pairs)
        outside_a = [k for k in range(len(a.shape)) if k != i]
        outside_b = [k for k in range(len(b.shape)) if k != j]
        domain = [a.shape[k] for k in outside_a] + [b.shape[k] for k in outside_b] + [a.shape[i]]
        last = len(domain) - 1
        first = [last if k == i else outside_a.index(k) for k in range(len(a.shape))]
        second = [last if k == j else len(outside_a) + outside_b.index(k) for k in range(len(b.shape))]
        return self.define(
            domain, last, [a, b], mul(Const(0.3), self.read(0, *first), self.read(1, *second)), hint="dot"
        )

    def triple(self):
        w, v = self.floats[1], self.floats[2]
        x = self.tensor(2)
        if x.shape[-1] != 3 or len(x.shape) > 3:
            return None
        rank = len(x.shape) - 1
        here = self.read(0, *range(rank), rank + 1)
        body = mul(
            Const(0.2), here, self.read(1, rank, rank + 1), self.read(2, rank + 1), self.read(1, rank + 2, rank + 1)
        )
        return self.define((*x.shape[:-1], 4, 3, 4), rank + 1, [x, w, v], body, hint="triple")

    def window(self):
        x = self.tensor(2)
        if not isinstance(x.shape[-1], int) or len(x.shape) > 3:
            return None
        rank, stride, pad = len(x.shape), self.rng.choice([1, 1, 2, 3]), self.rng.choice([0, 1, 2])
        count = (x.shape[-1] + 2 * pad - 3) // stride + 1
        if count < 1:
            return None
        kernel = self.floats[4]
        at = place(-pad, (rank - 1, stride), (rank, 1))
        here = Read(0, (*(index(k) for k in range(rank - 1)), at), ZERO if pad else None)
        op = self.rng.choice(["sum", "sum", "max"])
        filtered = mul(Const(0.5), here, Read(1, (affine(0), affine(1), index(rank)), None)) if op == "sum" else here
        tensors = [x, kernel] if op == "sum" else [x]
        return self.define((*x.shape[:-1], count, 3), rank, tensors, filtered, op, hint="window")

    # ------------------------------------------------------------------------------------------ places

    def gather(self):
        table = self.floats[1]
        at = (affine(0, ((self.read(1, 0), 1),)), index(1))
        return self.define((N, 3), 2, [table, self.token], Read(0, at, None), hint="gathered")

    def scatter(self):
        x = self.tensor(2)
        if x.shape[0] != N:
            return None
        rank = len(x.shape)
        write = (affine(0, ((self.read(1, 0), 1),)), *(index(k) for k in range(1, rank)))
        shape = (4, *x.shape[1:])
        form = Form(x.shape, "sum", write, shape, (x.operand, self.token.operand), self.read(0, *range(rank)))
        return self.builder.define("scattered", (form, (x.name, self.token.name)), kind="float")

    def concatenation(self):
        a = self.tensor(1)
        same = [t for t in self.floats if len(t.shape) == len(a.shape) and t.shape[:-1] == a.shape[:-1]]
        b = self.rng.choice(same)
        if not isinstance(a.shape[-1], int) or not isinstance(b.shape[-1], int):
            return None
        rank = len(a.shape)
        shape = (*a.shape[:-1], a.shape[-1] + b.shape[-1])
        terms = []
        for x, start in ((a, 0), (b, a.shape[-1])):
            write = (*(index(k) for k in range(rank - 1)), place(start, (rank - 1, 1)))
            form = Form(x.shape, "sum", write, shape, (x.operand,), call("tanh", self.read(0, *range(rank))))
            terms.append(Term(form, (x.name,), (Origin("concat"),)))
        tensor = Tensor(self.builder.fresh("joined"), shape)
        return self.builder.append(Definition(tensor, tuple(terms)))


KINDS = [
    "function",
    "function",
    "function",
    "broadcast",
    "broadcast",
    "broadcast",
    "shift",
    "transpose",
    "flatten",
    "reshape",
    "draw",
    "reduction",
    "reduction",
    "contraction",
    "contraction",
    "triple",
    "window",
    "window",
    "gather",
    "scatter",
    "concatenation",
]


def random_program(seed: int, steps: int = 14, with_gradient: bool = True):
    """A program with a few outputs, a commit, and the gradient of a number by its float inputs; and values for its
    inputs."""
    maker = Maker(seed, steps)
    builder = maker.builder
    ends = maker.floats[-3:]
    builder.outputs = [Output(f"y{k}", t.name) for k, t in enumerate(dict.fromkeys(ends))]
    vectors = [t for t in maker.floats if t.shape == (3,) and t.name not in ("v", "memory")]
    if vectors:
        builder.commits.append(Commit("memory", vectors[-1].name))
    if with_gradient:
        wrt = [i.tensor.name for i in builder.inputs if i.tensor.kind == "float"]
        found = gradients(builder, [(t.name, None) for t in dict.fromkeys(ends)], wrt)
        builder.outputs += [Output(f"gradient of {name}", g) for name, g in found.items() if g is not None]
    numbers = np.random.default_rng(seed)
    values = {}
    for given in builder.inputs:
        shape = [s if isinstance(s, int) else BATCH for s in given.tensor.shape]
        values[given.tensor.name] = (
            numbers.standard_normal(shape) if given.tensor.kind == "float" else numbers.integers(0, 4, shape)
        )
    values["step"] = 2
    return builder.program(), values
