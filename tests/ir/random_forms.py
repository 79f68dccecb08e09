"""Random forms, permuted copies of them, and what they mean, point by point: an oracle of its own."""

import itertools
import math
import random

import numpy as np

from diffgraph.ir import dimension, scalar
from diffgraph.ir.affine import affine, index, is_inside
from diffgraph.ir.expression import Affine, Call, Const, Extent, Index, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.random import uniform
from diffgraph.ir.rewrite import substitute, substitute_place
from diffgraph.ir.simplify import ZERO, add, call, mul, where

IDENTITY = {"sum": 0, "prod": 1, "max": -math.inf, "min": math.inf, "any": False, "all": True}


# ------------------------------------------------------------------------------------------------ meaning


def value(expr, point, arrays, operands, sizes):
    """An expression at one point of the domain, with Python numbers."""
    of = lambda e: value(e, point, arrays, operands, sizes)
    match expr:
        case Const(v):
            return v if isinstance(v, (bool, int)) else float(v)
        case Extent(size):
            return dimension.evaluate(size, sizes)
        case Index(axis):
            return point[axis]
        case Affine(constant, terms):
            return constant + sum(c * int(of(a)) for a, c in terms)
        case Read(slot, place, otherwise):
            at = tuple(of(p) for p in place)
            inside = all(0 <= k < n for k, n in zip(at, arrays[slot].shape))
            assert inside or otherwise is not None, f"{expr} is outside at {point}"
            return arrays[slot][at].item() if inside else of(otherwise)
        case Call("where", (c, a, b)):
            return of(a) if of(c) else of(b)
        case Call("add", args):
            return sum(of(a) for a in args)
        case Call("mul", args):
            return math.prod(of(a) for a in args)
        case Call("and", args):
            return all(of(a) for a in args)
        case Call("or", args):
            return any(of(a) for a in args)
        case Call("random", args):
            return float(uniform(*(int(of(a)) for a in args)))
        case Call("recip", (a,)):
            x = of(a)
            return 1 / x if x else math.copysign(math.inf, x)
        case Call(function, args):
            return np.asarray(scalar.FUNCTIONS[function].numpy(*(np.asarray(of(a)) for a in args))).item()


def meaning(form, arrays, sizes=None):
    """What a form makes of arrays, one point after the other."""
    sizes = sizes or {}
    domain = [dimension.evaluate(e, sizes) for e in form.domain]
    shape = [dimension.evaluate(e, sizes) for e in form.shape]
    result, extreme = {}, {}
    for rank, point in enumerate(itertools.product(*map(range, domain))):
        v = value(form.body, point, arrays, form.operands, sizes)
        at = tuple(value(w, point, arrays, form.operands, sizes) for w in form.write)
        if not all(0 <= k < n for k, n in zip(at, shape)):
            continue
        if form.op in ("argmax", "argmin"):
            rank = 0
            for k in form.reduced:
                rank = rank * domain[k] + point[k]
            better = at not in extreme or (v > extreme[at] if form.op == "argmax" else v < extreme[at])
            if better:
                extreme[at], result[at] = v, rank
        else:
            combine = {"sum": lambda a, b: a + b, "prod": lambda a, b: a * b, "max": max, "min": min}
            combine |= {"any": lambda a, b: a or bool(b), "all": lambda a, b: a and bool(b)}
            result[at] = combine[form.op](result.get(at, IDENTITY[form.op]), v)
    full = np.full(shape, float(IDENTITY.get(form.op, 0)))
    for at, v in result.items():
        full[at] = v
    return full


# ------------------------------------------------------------------------------------------------ random forms


def random_place(rng, axes):
    chosen = rng.sample(range(axes), min(axes, rng.choice([1, 1, 1, 2, 2, 3])))
    return affine(rng.randint(-1, 3), [(Index(k), rng.choice([1, 1, 1, 2, 3, -1, -2])) for k in chosen])


def random_read(rng, slot, operand, axes, domain):
    place = []
    for _ in operand.shape:
        p = random_place(rng, axes)
        if rng.random() < 0.15:
            p = affine(0, ((call(rng.choice(["floordiv", "mod"]), p, Const(rng.choice([2, 3, 4]))), 1),))
        if rng.random() < 0.05:
            p = affine(0, ((Call("clamp", (p, Const(0), Const(3))), 1),))
        place.append(p)
    otherwise = rng.choice([ZERO, ZERO, ZERO, Const(-1.5)])
    if all(is_inside(p, s, domain) for p, s in zip(place, operand.shape)):
        otherwise = None
    return Read(slot, tuple(place), otherwise)


def random_body(rng, operands, axes, domain):
    """Mostly a product of reads, so that it is like a layer; with guards, sums, values of indices, draws, gathers."""
    read = lambda slot: random_read(rng, slot, operands[slot], axes, domain)
    body = mul(read(0), read(1)) if rng.random() < 0.7 else Call("add", (read(0), read(1)))
    if rng.random() < 0.25:
        body = Call("mul", (Call("add", (Const(1.0), read(0))), body))
    if rng.random() < 0.15:
        gather = affine(0, ((Read(2, tuple(random_place(rng, axes) for _ in operands[2].shape), Const(0)), 1),))
        body = Call("mul", (body, Read(0, (gather,) * len(operands[0].shape), ZERO)))
    if rng.random() < 0.3:
        a, b = random_place(rng, axes), random_place(rng, axes)
        body = Call(
            "where", (call(rng.choice(["lt", "ge", "eq", "ne"]), a, b), body, rng.choice([ZERO, ZERO, Const(0.5)]))
        )
    if rng.random() < 0.2:
        body = Call("mul", (body, random_place(rng, axes)))
    if rng.random() < 0.1:
        body = Call("where", (Call("gt", (read(1), Const(4.0))), body, ZERO))
    if rng.random() < 0.1:
        body = Call("mul", (body, Call("random", (Const(7), Const(1), Const(rng.randint(0, 1)), Index(0)))))
    if rng.random() < 0.1:
        body = add(body, where(call("lt", random_place(rng, axes), Const(2)), read(1), ZERO))
    return body


def random_form(rng, op="sum", symbolic=False):
    """A form and the values of its operands; `symbolic` makes the first extent N (with the value that it has)."""
    axes = rng.randint(1, 5)
    domain = tuple(rng.choice([1, 2, 3, 4, 4, 6]) if axes < 4 else rng.randint(1, 4) for _ in range(axes))
    operands = tuple(Operand(tuple(rng.randint(4, 9) for _ in range(rng.randint(1, 3)))) for _ in range(2))
    operands += (Operand((5,), "int", 4),)
    sizes = {}
    if symbolic:
        sizes = {"N": domain[0]}
        domain = (dimension.symbol("N"), *domain[1:])
    if op == "sum":
        shape = tuple(rng.randint(3, 9) for _ in range(rng.randint(1, 3)))
        write = tuple(random_place(rng, axes) for _ in shape)
    else:
        kept = rng.sample(range(axes), rng.randint(0, axes))
        shape, write = tuple(domain[k] for k in kept), tuple(index(k) for k in kept)
    form = Form(domain, op, write, shape, operands, random_body(rng, operands, axes, domain))
    numbers = np.random.default_rng(rng.randrange(1 << 30))
    arrays = [numbers.integers(1, 9, o.shape).astype(float) for o in operands[:2]] + [numbers.integers(0, 4, (5,))]
    return form, arrays, sizes


def forms(seed, count, **options):
    """Random forms whose value is not all zero."""
    rng = random.Random(seed)
    found = 0
    while found < count:
        form, arrays, sizes = random_form(rng, **options)
        expected = meaning(form, arrays, sizes)
        if expected.any():
            found += 1
            yield form, arrays, sizes, expected


def permuted(form, rng):
    """A copy with its indices and slots numbered differently. Reduced indices keep their order but in sums."""
    axes = list(range(len(form.domain)))
    if form.op == "sum":
        rng.shuffle(axes)
    else:
        written = [k for k in axes if k in form.written]
        rng.shuffle(written)
        at = sorted(rng.sample(axes, len(written)))
        order = iter([k for k in axes if k not in form.written])
        chosen = dict(zip(at, written))
        placed = [chosen[k] if k in chosen else next(order) for k in axes]
        axes = [placed.index(k) for k in range(len(axes))]
    slots = list(range(len(form.operands)))
    rng.shuffle(slots)
    domain, operands = [None] * len(axes), [None] * len(slots)
    for old, new in enumerate(axes):
        domain[new] = form.domain[old]
    for old, new in enumerate(slots):
        operands[new] = form.operands[old]
    indices = {old: index(new) for old, new in enumerate(axes)}
    moved = dict(enumerate(slots))
    write = tuple(substitute_place(w, indices, tuple(domain), moved) for w in form.write)
    body = substitute(form.body, indices, tuple(domain), moved)
    return Form(tuple(domain), form.op, write, form.shape, tuple(operands), body), slots
