"""How long the middle takes: 500 blocks of convolution, batch normalization and relu, differentiated, through all
passes.

    python benchmarks/middle.py [blocks]

The goal is 2 s on 2 cores for 500 blocks, and time in proportion to the number of blocks.
"""

from __future__ import annotations

import sys
import time

from diffgraph.autodiff.differentiate import gradients
from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import product, symbol
from diffgraph.ir.expression import Const, Expr, Extent, Index, Read
from diffgraph.ir.form import Form
from diffgraph.ir.program import Builder, Origin, Output, Program, Tensor, walk
from diffgraph.ir.simplify import ZERO, add, call, mul
from diffgraph.passes.pipeline import PIPELINE
from diffgraph.passes.report import Report

CHANNELS = 8
SIZE = 16


def defined(builder: Builder, hint: str, domain, rank: int, operands: list[Tensor], body: Expr) -> Tensor:
    """A sum that writes the first `rank` indices of its domain."""
    write = tuple(index(k) for k in range(rank))
    form = Form(tuple(domain), "sum", write, tuple(domain[:rank]), tuple(t.operand for t in operands), body)
    return builder.define(hint, (form, tuple(t.name for t in operands)), kind="float")


def read(slot: int, *axes: int) -> Expr:
    return Read(slot, tuple(index(k) for k in axes), None)


def convolution(builder: Builder, x: Tensor, weight: Tensor) -> Tensor:
    """3 by 3, padded by one."""
    at = [affine(-1, ((Index(k), 1), (Index(k + 3), 1))) for k in (2, 3)]
    body = mul(read(1, 1, 4, 5, 6), Read(0, (index(0), index(4), *at), ZERO))
    return defined(builder, "c", (*x.shape, CHANNELS, 3, 3), 4, [x, weight], body)


def mean(builder: Builder, hint: str, operands: list[Tensor], body: Expr) -> Tensor:
    """Over all axes but the channels, which are index 0."""
    batch, channels, height, width = operands[0].shape
    count = product((batch, height, width))
    scale = call("recip", Extent(count))
    return defined(builder, hint, (channels, batch, height, width), 1, operands, mul(scale, body))


def block(builder: Builder, x: Tensor, number: int) -> tuple[Tensor, list[Tensor]]:
    """relu(batchnorm(conv(x))) and its parameters."""
    builder.origin = Origin(f"block{number}")
    weight = builder.input("weight", (CHANNELS, CHANNELS, 3, 3), "parameter", path=f"block{number}.weight")
    gamma = builder.input("gamma", (CHANNELS,), "parameter", path=f"block{number}.gamma")
    beta = builder.input("beta", (CHANNELS,), "parameter", path=f"block{number}.beta")
    c = convolution(builder, x, weight)
    here = read(0, 1, 0, 2, 3)
    mu = mean(builder, "mu", [c], here)
    centred = add(here, mul(Const(-1.0), read(1, 0)))
    var = mean(builder, "var", [c, mu], mul(centred, centred))
    centred = add(read(0, 0, 1, 2, 3), mul(Const(-1.0), read(1, 1)))
    scale = call("recip", call("sqrt", add(read(2, 1), Const(1e-5))))
    normal = add(mul(centred, scale, read(3, 1)), read(4, 1))
    y = defined(builder, "y", c.shape, 4, [c, mu, var, gamma, beta], call("relu", normal))
    return y, [weight, gamma, beta]


def network(blocks: int) -> tuple[Builder, Tensor, list[Tensor]]:
    """A chain of blocks, the mean square of its result, and its parameters."""
    builder = Builder()
    x = builder.input("x", (symbol("N"), CHANNELS, SIZE, SIZE), "input")
    parameters: list[Tensor] = []
    for number in range(blocks):
        x, made = block(builder, x, number)
        parameters += made
    builder.origin = Origin("loss")
    here = read(0, 0, 1, 2, 3)
    loss = defined(builder, "loss", x.shape, 0, [x], mul(call("recip", Extent(product(x.shape))), here, here))
    return builder, loss, parameters


def differentiated(blocks: int) -> Program:
    """The network and the gradients of its loss by all parameters."""
    builder, loss, parameters = network(blocks)
    found = gradients(builder, [(loss.name, None)], [p.name for p in parameters])
    builder.outputs = [Output("loss", loss.name), *(Output(f"gradient of {p}", g) for p, g in found.items() if g)]
    return builder.program()


def distinct_forms(program: Program) -> int:
    return len({t.form for s in walk(program) for t in getattr(s, "terms", ())})


def main(blocks: int) -> None:
    start = time.perf_counter()
    builder, loss, parameters = network(blocks)
    built = time.perf_counter()
    found = gradients(builder, [(loss.name, None)], [p.name for p in parameters])
    builder.outputs = [Output("loss", loss.name), *(Output(f"gradient of {p}", g) for p, g in found.items() if g)]
    program = builder.program()
    clock = time.perf_counter()
    print(f"{'built':14} {built - start:6.2f} s {len(program.statements):6} statements (with the gradient)")
    print(f"{'differentiated':14} {clock - built:6.2f} s {distinct_forms(program):6} distinct forms")
    first = built
    for name, step in PIPELINE:
        program = step(program, Report())
        now = time.perf_counter()
        print(f"{name:14} {now - clock:6.2f} s {len(program.statements):6} statements")
        clock = now
    print(f"{'all':14} {clock - first:6.2f} s {distinct_forms(program):6} distinct forms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
