"""What a loop keeps in memory: its carries, each once; with `checkpoint k` every k-th, and those of one segment. And it is
never written out."""

import pytest

from diffgraph.compiler import loads
from diffgraph.kernels.commit import place_commits
from diffgraph.kernels.reuse import reuse
from diffgraph.kernels.schedule import schedule
from diffgraph.kernels.tiles import Machine
from diffgraph.runtime.plan import Code, Planner

WIDTH, BATCH = 64, 64

#: Bytes of what one step carries.
CARRY = 4 * WIDTH * BATCH

#: name -> what is carried and read, and by what the loss is differentiated.
LOOPS = {
    "map": ("input x[N, D]", "x", "next h = tanh(h) * 0.9 + 0.01 * h", "mean(h^2)", ["x"]),
    "cell": ("input x[N, D]", "zeros([N, D])", "next h = (x, h) -> rnn_cell(D) as cell", "mean(h^2)", None),
    "inputs": ("input x[N, T, D]", "zeros([N, D])", "next h = (x[:, t, :], h) -> rnn_cell(D) as cell", "mean(h^2)", None),
    "gru": ("input x[N, T, D]", "zeros([N, D])", "next h = (x[:, t, :], h) -> gru_cell(D) as cell", "mean(h^2)", None),
    "path": ("input x[N, D]", "x", "next h = tanh(h) * 0.9 + 0.01 * h\nyield h", "mean(h^2)", ["x"]),
    "states": ("input x[N, D]", "x", "new = tanh(h) * 0.9\nnext h = new\nyield new", "mean(sin(h))", ["x"]),
}


class AnyCode(dict):
    """Stands for the machine code of every kernel."""

    def __missing__(self, kernel):
        return Code(0, ())


def planned(name, steps, checkpoint=None):
    """(bytes of the arena of a gradient, its kernels)."""
    inputs, start, body, loss, wrt = LOOPS[name]
    kept = "" if checkpoint is None else f"checkpoint {checkpoint}"
    net = loads(f"""
        net loop(T = {steps}, D = {WIDTH}) {{
            {inputs}
            h = scan t in 0..T from h = {start} {kept} {{ {body} }}
            loss {loss}
        }}""")
    wrt = wrt or [v.path for v in net.network(True).parameters]
    program = net.optimized(net.gradient(wrt))
    commits = reuse(place_commits(schedule(program, Machine(16, 32)), program), program)
    given = frozenset(i.tensor.name for i in program.inputs)
    planner = Planner(commits, {"N": BATCH}, "float32", 2, AnyCode(), given, False, frozenset())
    return planner.plan().arena, commits.schedule.kernels


@pytest.mark.parametrize(("name", "most"), [
    ("map", 1.01), ("path", 1.01), ("states", 1.01), ("cell", 1.07), ("inputs", 1.07), ("gru", 1.14),
])  # fmt: skip
def test_a_derivative_keeps_the_carries(name, most):
    arena, _ = planned(name, 1000)
    assert 1000 * CARRY < arena < most * 1000 * CARRY


@pytest.mark.parametrize(("name", "working"), [("map", 5), ("cell", 16), ("inputs", 17), ("gru", 50)])
def test_checkpoints_keep_every_kth_and_a_segment(name, working):
    """32 starts of segments, 32 steps of one of them, and the tensors that a step works with."""
    arena, _ = planned(name, 1000, 32)
    assert arena < (64 + working) * CARRY


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("checkpoint", [None, 25])
def test_many_steps_are_the_same_kernels(name, checkpoint):
    (_, few), (_, many) = (planned(name, steps, checkpoint) for steps in (100, 1000))
    assert len(few) == len(many) < 40

