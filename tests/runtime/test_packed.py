"""States that stay in another order over the steps of an epoch: nobody sees that."""

import numpy as np

import diffgraph as dg
from diffgraph.ir.interpret import interpret
from diffgraph.ir.verify import verify
from diffgraph.passes.pack import split_packed
from diffgraph.passes.report import Report
from diffgraph.runtime.packed import PackedExecutable
from diffgraph.training.assembly import assemble
from diffgraph.training.data.dataset import Dataset

TEXT = """
net wide {
    input x[N, 80]
    target y[N]: int < 4
    h = x -> linear(64) -> tanh
    logits = h -> linear(4)
    output logits
    loss cross_entropy(logits, y) + 1e-3 * l2(parameters)
}
train wide { batch 16; optimizer OPTIMIZER }
"""

RNG = np.random.default_rng(0)
COLUMNS = {"x": RNG.standard_normal((48, 80)).astype(np.float32), "y": RNG.integers(0, 4, 48)}
ORDER = np.arange(48).reshape(3, 16)


def training(optimizer="adam(lr = 1e-2)", target="cpu", threads=None):
    """(net, run of its train block)"""
    net = dg.loads(TEXT.replace("OPTIMIZER", optimizer), target=target, threads=threads)
    return net, assemble(net, net.plan(batch=16, steps=100), Dataset("made", COLUMNS))


def packed_of(run) -> PackedExecutable:
    found = run.steps.executable.for_inputs({n: c[:16] for n, c in COLUMNS.items()})
    assert isinstance(found, PackedExecutable)
    return found


def values(run):
    return {path: array.copy() for path, array in run.storage.items()}


def agree(found, expected, rtol=2e-4):
    for path, array in expected.items():
        np.testing.assert_allclose(found[path], array, rtol=rtol, atol=2e-6, err_msg=path)


def test_as_the_interpreter():
    _, ours = training()
    _, reference = training(target="reference")
    packed_of(ours)
    for first in (1, 4):
        np.testing.assert_allclose(ours.steps.advance(ORDER, first), reference.steps.advance(ORDER, first), rtol=1e-5)
    agree(values(ours), values(reference))


def test_the_same_bits_for_one_thread_and_two():
    runs = [training(threads=n)[1] for n in (1, 2)]
    for run in runs:
        run.steps.advance(ORDER, 1)
    for path, array in values(runs[0]).items():
        np.testing.assert_array_equal(runs[1].storage[path], array, err_msg=path)


def test_what_is_written_between_epochs_counts():
    _, ours = training()
    _, other = training()
    for run in (ours, other):
        run.steps.advance(ORDER[:1], 1)
    kept = values(other)
    ours.storage["linear1.weight"][...] = 0.5 * kept["linear1.weight"]
    other = training()[1]
    for path, value in kept.items():
        other.storage[path][...] = value
    other.storage["linear1.weight"][...] *= 0.5
    for run in (ours, other):
        run.steps.advance(ORDER, 2)
    agree(values(ours), values(other), rtol=0)


def test_an_array_that_is_lent_follows():
    _, ours = training()
    _, other = training()
    lent = ours.storage["linear2.bias"]
    view = ours.storage["linear1.weight"].T
    for first in (1, 4):
        before = lent.copy()
        ours.steps.advance(ORDER, first)
        other.steps.advance(ORDER, first)
        assert not np.array_equal(lent, before)
        np.testing.assert_array_equal(lent, other.storage["linear2.bias"])
        np.testing.assert_array_equal(view.T, other.storage["linear1.weight"])
        lent *= 0.9
        other.storage["linear2.bias"][...] *= np.float32(0.9)


def test_executables_of_one_storage_see_it():
    net, ours = training()
    before = net(x=COLUMNS["x"])["logits"]
    ours.steps.advance(ORDER, 1)
    executable = packed_of(ours)
    assert executable._is_newer
    after = net(x=COLUMNS["x"])["logits"]
    assert not executable._is_newer and not np.allclose(before, after)
    fresh = dg.loads(TEXT.replace("OPTIMIZER", "adam"))
    for path, array in net.storage.items():
        fresh.storage[path][...] = array
    np.testing.assert_array_equal(fresh(x=COLUMNS["x"])["logits"], after)


def test_a_step_of_its_own_after_an_epoch_and_before_another():
    _, ours = training()
    _, other = training()
    ours.steps.advance(ORDER, 1)
    given = {n: c[ORDER[0]] for n, c in COLUMNS.items()} | {"step": np.int64(4)}
    ours.steps.executable.run(given, commit=True)
    ours.steps.advance(ORDER, 5)
    for order, first in ((ORDER, 1), (ORDER[:1], 4), (ORDER, 5)):
        other.steps.advance(order, first)
    agree(values(ours), values(other))


def test_a_dict_as_storage_is_changed_in_place():
    _, ours = training()
    arrays = values(ours)
    executable = ours.steps.executable
    executable.bind(arrays)
    executable.epoch(COLUMNS, ORDER, 1)
    other = training()[1]
    other.steps.advance(ORDER, 1)
    agree(arrays, values(other), rtol=0)


def test_the_three_parts_mean_the_program():
    """The steps on packed states give, unpacked, what the program gives."""
    _, ours = training()
    program = packed_of(ours).program
    packing = split_packed(program, Report())
    for part in (packing.pack, packing.steps, packing.unpack):
        verify(part, "pack")
    rng = np.random.default_rng(1)
    given = {}
    for i in program.inputs:
        shape = tuple(5 if not isinstance(s, int) else s for s in i.tensor.shape)
        whole = rng.integers(1, 4, shape) if i.tensor.kind == "int" else np.abs(rng.standard_normal(shape)) * 0.1
        given[i.tensor.name] = np.asarray(whole)
    expected = interpret(program, given)
    states = {i.tensor.name: given[i.tensor.name] for i in packing.pack.inputs if i.role != "prepared"}
    nothing = {i.tensor.name: np.zeros(i.tensor.shape) for i in packing.pack.inputs if i.role == "prepared"}
    made = interpret(packing.pack, states | nothing)
    paths = {i.tensor.name: i.path for i in packing.pack.inputs}
    packed = {paths[c.state]: made[c.tensor] for c in packing.pack.commits}
    steps = {i.tensor.name: packed.get(i.path, given.get(i.tensor.name)) for i in packing.steps.inputs}
    found = interpret(packing.steps, steps)
    for a, b in zip(program.outputs, packing.steps.outputs, strict=True):
        np.testing.assert_allclose(found[b.tensor], expected[a.tensor], rtol=1e-12)
    news = {c.state: found[c.tensor] for c in packing.steps.commits}
    ordered = {f"({name} in order)": value for name, value in news.items()}
    back = {i.tensor.name: ordered.get(i.path, given.get(i.tensor.name)) for i in packing.unpack.inputs}
    unpacked = interpret(packing.unpack, back)
    kept = {c.state: unpacked[c.tensor] for c in packing.unpack.commits}
    assert kept
    for commit in program.commits:
        np.testing.assert_allclose(
            kept.get(commit.state, news[commit.state]), expected[commit.tensor], rtol=1e-12, err_msg=commit.state
        )
