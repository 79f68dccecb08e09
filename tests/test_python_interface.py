"""The Python interface, on nets small enough to compute by hand."""

import copy
import os
import pickle
import signal

import numpy as np
import pytest

import diffgraph as dg
from diffgraph.compiler import net_of_block
from diffgraph.inspect.expectations import verdicts
from diffgraph.language.module import load_text
from diffgraph.training.progress import Progress

LINE = """
net line {
    input  x[N, 2]
    target y[N, 1]
    prediction = x -> linear(1)
    output prediction
    loss   mean((prediction - y)^2)
    metric worst = max[n](abs(prediction[n, 0] - y[n, 0]))
    metric psnr = -10 * log10(mean((prediction - y)^2))
}
train line {
    data      table([[0, 0, 1], [0, 1, 3], [1, 0, 2], [1, 1, 4], [2, 1, 5]])
    batch     2
    epochs    3
    optimizer sgd(lr = 0.1, momentum = 0.9)
    seed      4
}
"""

NOISY = """
net noisy(rate = 0.5) {
    input  x[N, 3]
    target label[N]: int < 2
    h = x -> linear(8, bias = false) -> batchnorm -> relu -> dropout(rate)
    logits = h -> linear(2)
    output probability = softmax(logits)
    loss   cross_entropy(logits, label)
    metric accuracy(logits, label)
}
train noisy {
    batch     4
    epochs    5
    optimizer adamw(lr = cosine(0.05, warmup = 3))
    average   ema(0.9)
    clip_norm 1.0
}
"""

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((7, 2))
Y = GENERATOR.standard_normal((7, 1))
POINTS = GENERATOR.standard_normal((14, 3))
LABELS = (POINTS.sum(axis=1) > 0).astype(int)


def reference(text=LINE, **options):
    return dg.loads(text, **{"target": "reference", "precision": "f64", **options})


@pytest.fixture(params=["reference", "cpu"])
def net(request):
    return dg.loads(LINE, target=request.param, precision="f64")


def by_hand(net, x):
    return x @ net.parameters["linear1.weight"].T + net.parameters["linear1.bias"]


# ---------------------------------------------------------------- running


def test_outputs_by_name_for_any_batch_size(net):
    for size in (1, 3, 7):
        found = net(x=X[:size])
        assert list(found) == ["prediction"]
        assert np.allclose(found["prediction"], by_hand(net, X[:size]))


def test_nothing_is_compiled_again():
    net = reference()
    net(x=X)
    made = net.inference_executable()
    net(x=X[:2])
    assert net.inference_executable() is made


def test_loss_and_gradients(net):
    loss = net.loss(x=X, y=Y)
    rest = by_hand(net, X) - Y
    assert loss == pytest.approx(np.mean(rest**2))
    again, gradients = net.gradients(x=X, y=Y)
    assert again == pytest.approx(loss)
    assert list(gradients) == ["linear1.weight", "linear1.bias"]
    assert np.allclose(gradients["linear1.weight"], 2 * rest.T @ X / 7)
    assert np.allclose(gradients["linear1.bias"], 2 * rest.mean(axis=0))


def test_gradients_by_inputs(net):
    _, gradients = net.gradients(x=X, y=Y, wrt=["x", "y"], training=False)
    rest = by_hand(net, X) - Y
    assert np.allclose(gradients["x"], 2 * rest * net.parameters["linear1.weight"] / 7)
    assert np.allclose(gradients["y"], -2 * rest / 7)


def test_what_no_loss_depends_on_has_gradient_zero():
    net = reference("net n { input x[N, 2]; a = x -> linear(3); b = x -> linear(1); output a; loss mean(b) }")
    _, gradients = net.gradients(x=X)
    assert gradients["linear1.weight"].shape == (3, 2) and not gradients["linear1.weight"].any()
    assert gradients["linear2.weight"].any()


def test_a_loss_with_a_scope_reaches_what_is_under_it():
    net = reference(
        "net n { input x[N, 2]; a = x -> linear(1) as one; b = a -> linear(1) as two; output b;"
        " loss mean(b^2) for two; loss mean(a) for one }"
    )
    _, gradients = net.gradients(x=X)
    assert np.allclose(gradients["one.weight"], X.mean(axis=0))
    a = X @ net.parameters["one.weight"].T + net.parameters["one.bias"]
    b = a @ net.parameters["two.weight"].T + net.parameters["two.bias"]
    assert np.allclose(gradients["two.weight"], np.mean(2 * b * a))


def test_modes():
    net = reference(NOISY)
    net(x=POINTS)
    still = net.loss(x=POINTS, label=LABELS)
    moving = net.loss(x=POINTS, label=LABELS, training=True)
    assert still == net.loss(x=POINTS, label=LABELS) and moving != still
    before = {k: v.copy() for k, v in net.state.items()}
    net.gradients(x=POINTS, label=LABELS)
    assert all(np.array_equal(before[k], v) for k, v in net.state.items()), "only training keeps states"
    assert set(net.state) == {"batchnorm1.running_mean", "batchnorm1.running_var"}


def test_other_symbols_are_fixed_by_the_arrays():
    net = reference("net n { input x[N, 1, H, W]; output y = x -> avgpool(2) }")
    assert net(x=np.ones((2, 1, 4, 6)))["y"].shape == (2, 1, 2, 3)
    assert net(x=np.ones((3, 1, 8, 2)))["y"].shape == (3, 1, 4, 1)


def test_a_net_that_runs_on_files_of_its_directory(tmp_path, monkeypatch):
    np.save(tmp_path / "table.npy", np.arange(3.0))
    (tmp_path / "n.net").write_text('net n { input x[N, 3]; output y = x * constant("table.npy") }')
    net = dg.load(tmp_path / "n.net", target="reference", precision="f64")
    assert net(x=np.ones((1, 3)))["y"].tolist() == [[0, 1, 2]]


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x": X[:, :1]}, r"input `x`"),
        ({"x": X[0]}, r"input `x`"),
        ({"x": np.array([["a", "b"]])}, r"input `x`.*numbers"),
        ({"x": X, "z": X}, "no input `z`"),
        ({}, "input `x` is not given"),
    ],
)
def test_arrays_that_do_not_fit_are_named(net, arrays, message):
    with pytest.raises(dg.DiffgraphError, match=message):
        net(**arrays)


def test_targets_are_checked(net):
    with pytest.raises(dg.DiffgraphError, match="target `y` is not given"):
        net.loss(x=X)
    with pytest.raises(dg.DiffgraphError, match="`y` has the shape"):
        net.loss(x=X, y=Y[:3])
    with pytest.raises(dg.DiffgraphError, match="holds 2, but is declared `int < 2`"):
        reference(NOISY).loss(x=POINTS, label=LABELS + 1)


def test_a_net_beside_a_train_block_with_settings():
    """It has the seed of that block and its own settings; what is expected of training is about the settings of the block."""
    text = """net model(width = 1) { input x[N, 1]; target y[N, width]; output p = x -> linear(width); loss mse(p, y) }
    train model(width = 2) as wide { data table([[1, 0, 1]]); steps 1; optimizer sgd; seed 5 }
    expect model { parameters == 2; p([[1]]).shape == [1, 1]; trains to loss < 99 }"""
    assert reference(text).seed == 5 and reference(text)(x=np.ones((3, 1)))["p"].shape == (3, 1)
    module = load_text(text)
    judged = verdicts(module, lambda block, **options: net_of_block(module, block, target="reference", **options))
    assert [verdict.holds for _, verdict in judged] == [True] * 3


@pytest.mark.parametrize("options", [{"target": "tpu"}, {"precision": "f16"}])
def test_what_nothing_runs_on_is_refused_at_once(options):
    with pytest.raises(dg.DiffgraphError, match="DG810"):
        dg.loads(LINE, **options)


def test_names_that_are_not_there(net):
    with pytest.raises(dg.DiffgraphError, match="did you mean `linear1.weight`"):
        net.gradients(x=X, y=Y, wrt=["linear1.weigth"])
    with pytest.raises(dg.DiffgraphError, match="has no loss"):
        reference("net n { input x[N]; output x }").loss(x=np.zeros(3))
    with pytest.raises(AttributeError):
        dg.lod


# ---------------------------------------------------------------- parameters


def test_parameters_are_written_by_assignment(net):
    net.parameters["linear1.weight"] = [[2.0, -1.0]]
    net.parameters["linear1.bias"][:] = 0.5
    assert np.allclose(net(x=X)["prediction"][:, 0], 2 * X[:, 0] - X[:, 1] + 0.5)
    with pytest.raises(dg.DiffgraphError, match=r"\[1, 2\], not \[2, 1\]"):
        net.parameters["linear1.weight"] = [[2.0], [1.0]]


def test_initial_values_are_a_function_of_the_seed():
    a, b, c = (reference(seed=s).parameters["linear1.weight"] for s in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert np.array_equal(reference().parameters["linear1.weight"], reference(seed=4).parameters["linear1.weight"])
    single = dg.loads(LINE, target="reference", precision="f32").parameters["linear1.weight"]
    assert single.dtype == np.float32
    assert np.array_equal(single, reference().parameters["linear1.weight"].astype(np.float32))


def test_saving_and_loading(net, tmp_path):
    net.save(tmp_path / "w.safetensors")
    expected = net(x=X)["prediction"]
    net.parameters["linear1.bias"] = [9.0]
    net.load(tmp_path / "w.safetensors")
    assert np.array_equal(net(x=X)["prediction"], expected)


def test_weights_that_do_not_fit_leave_the_net_as_it_was(net, tmp_path):
    reference(LINE.replace("linear(1)", "linear(1, bias = false)")).save(tmp_path / "w.safetensors")
    before = {k: v.copy() for k, v in net.parameters.items()}
    with pytest.raises(dg.DiffgraphError, match="lacks `linear1.bias`"):
        net.load(tmp_path / "w.safetensors")
    assert all(np.array_equal(before[k], v) for k, v in net.parameters.items())


# ---------------------------------------------------------------- training


def test_the_train_block_by_hand():
    """Gradient descent with momentum over shuffled batches of 2, 2, 1, computed here with NumPy."""
    from diffgraph.training.order import epoch_order

    net = reference()
    rows = np.array([[0, 0, 1], [0, 1, 3], [1, 0, 2], [1, 1, 4], [2, 1, 5]], float)
    table = np.c_[rows[:, :2], np.ones(5)]
    w = np.r_[net.parameters["linear1.weight"][0], net.parameters["linear1.bias"]]
    v = 0
    for epoch in range(3):
        order = epoch_order(4, epoch, 5)
        for batch in (order[:2], order[2:4], order[4:]):
            rest = table[batch] @ w - rows[batch, 2]
            v = 0.9 * v + 2 * table[batch].T @ rest / len(batch)
            w = w - 0.1 * v
    history = net.train()
    assert np.allclose(np.r_[net.parameters["linear1.weight"][0], net.parameters["linear1.bias"]], w)
    assert len(history) == 3 and history[-1].step == 9
    assert history.final["loss"] == pytest.approx(np.mean((table @ w - rows[:, 2]) ** 2))
    assert history.final["worst"] == pytest.approx(np.max(np.abs(table @ w - rows[:, 2])))


def test_data_and_fields_from_python():
    a, b = reference(), reference()
    history = a.train(data=(X, Y), epochs=2, batch=7, optimizer="adam(lr = 0.01)")
    assert [r.step for r in history] == [1, 2]
    b.train(data={"y": Y, "x": X}, steps=2, batch=7, optimizer="adam(lr = 0.01)")
    assert np.array_equal(a.parameters["linear1.weight"], b.parameters["linear1.weight"])


def test_held_out_data_are_evaluated():
    history = reference().train(data=(X, Y), held_out=(X[:2], Y[:2]))
    assert history[0].on == "held out"
    net = reference()
    history = net.train(data=(X, Y), held_out=(X[:2], Y[:2]))
    assert history.final["loss"] == pytest.approx(net.loss(x=X[:2], y=Y[:2]))


def test_targets_agree():
    nets = [dg.loads(NOISY, target=t, precision="f64") for t in ("reference", "cpu")]
    histories = [net.train(data=(POINTS, LABELS)) for net in nets]
    for path, array in nets[0].storage.items():
        assert np.allclose(array, nets[1].storage[path], rtol=1e-9, atol=1e-12), path
    assert histories[0].losses == pytest.approx(histories[1].losses, rel=1e-9)


@pytest.mark.parametrize("target", ["reference", "cpu"])
@pytest.mark.parametrize("stop", [2, 4, 9])
def test_resuming_is_bit_for_bit(tmp_path, target, stop):
    """With dropout, running means, Adam's states, a schedule, clipping and an average, in the middle of an epoch
    too."""

    class Stopping(Progress):
        def step(self, done, loss):
            if done >= stop:
                os.kill(os.getpid(), signal.SIGINT)

    whole = dg.loads(NOISY, target=target)
    whole.train(data=(POINTS, LABELS), directory=tmp_path / "whole")
    first = dg.loads(NOISY, target=target)
    with pytest.raises(KeyboardInterrupt):
        first.train(data=(POINTS, LABELS), directory=tmp_path / "run", progress=Stopping())
    again = dg.loads(NOISY, target=target)
    again.train(data=(POINTS, LABELS), directory=tmp_path / "run", resume=True)
    for path, array in whole.storage.items():
        assert np.array_equal(array, again.storage[path]), path


def test_a_checkpoint_is_loaded_as_weights(tmp_path):
    net = reference(NOISY)
    net.train(data=(POINTS, LABELS), directory=tmp_path)
    other = reference(NOISY)
    other.load(tmp_path / "last.safetensors")
    assert np.array_equal(net(x=POINTS)["probability"], other(x=POINTS)["probability"])
    assert (tmp_path / "model.net").read_text() == NOISY


def test_averaged_weights_are_the_final_ones():
    plain = reference(LINE.replace("seed      4", "seed 4"))
    averaged = reference(LINE.replace("seed      4", "seed 4; average ema(0.5)"))
    seen = [{k: v.copy() for k, v in plain.parameters.items()}]
    for step in range(1, 4):
        net = reference()
        net.train(steps=step, data=(X, Y), batch=7)
        seen.append({k: v.copy() for k, v in net.parameters.items()})
    averaged.train(steps=3, data=(X, Y), batch=7)
    for path, array in averaged.parameters.items():
        expected = seen[0][path]
        for step, weights in enumerate(seen[1:], start=1):
            rate = min(0.5, (1 + step) / (10 + step))
            expected = rate * expected + (1 - rate) * weights[path]
        assert np.allclose(array, expected)


def test_frozen_paths_stay():
    net = reference(LINE.replace("seed      4", 'freeze "*.bias"'))
    before = net.parameters["linear1.bias"].copy()
    net.train()
    assert np.array_equal(net.parameters["linear1.bias"], before)


def test_lbfgs_finds_the_least_squares_solution(net):
    history = net.train(data=(X, Y), optimizer="lbfgs", steps=50, batch=7)
    solution = np.linalg.lstsq(np.c_[X, np.ones(7)], Y, rcond=None)[0].ravel()
    assert np.allclose(np.r_[net.parameters["linear1.weight"][0], net.parameters["linear1.bias"]], solution, atol=1e-6)
    assert history.ended == "nothing more to gain"


def test_lbfgs_resumes_bit_for_bit(tmp_path):
    options = {"data": (POINTS, LABELS), "optimizer": "lbfgs(memory = 3)", "batch": 14, "average": None}
    options.pop("average")
    text = NOISY.replace("average   ema(0.9)", "").replace("clip_norm 1.0", "").replace("dropout(rate)", "dropout(0)")
    whole, first, again = (reference(text) for _ in range(3))
    whole.train(steps=8, directory=tmp_path / "a", **options)
    first.train(steps=3, directory=tmp_path / "b", **options)
    again.train(steps=8, directory=tmp_path / "b", resume=True, **options)
    for path, array in whole.storage.items():
        assert np.array_equal(array, again.storage[path]), path


def test_a_net_without_a_batch():
    text = """
    net unknown {
        target observed[3]
        param level = 0
        output level
        loss mean((level - observed)^2)
    }
    train unknown { steps 100; optimizer adam(lr = 0.1); BATCH }
    """
    net = reference(text.replace("BATCH", ""))
    net.train(data=(np.array([1.0, 2.0, 3.0]),))
    assert net.parameters["level"] == pytest.approx(2, abs=0.05)
    with pytest.raises(dg.DiffgraphError, match="has no batch(.|\n)*leave `batch` out"):
        reference(text.replace("BATCH", "batch 2")).train(data=(np.zeros(3),))


def test_metrics_are_of_the_whole_set_whatever_the_batches():
    """300 samples are more than one batch of an evaluation; a peak signal-to-noise ratio is no mean of batches."""
    net = reference()
    x = np.random.default_rng(1).standard_normal((300, 2))
    y = np.random.default_rng(2).standard_normal((300, 1))
    rest = by_hand(net, x) - y
    found = net.evaluate({"x": x, "y": y})
    assert found["loss"] == pytest.approx(np.mean(rest**2), rel=1e-12)
    assert found["psnr"] == pytest.approx(-10 * np.log10(np.mean(rest**2)), rel=1e-12)
    assert found["worst"] == np.max(np.abs(rest))


def test_data_mistakes_are_one_message():
    bad = X.copy()
    bad[3, 1] = np.nan
    with pytest.raises(dg.DiffgraphError, match=r"column `x` holds nan at \[3, 1\]"):
        reference().train(data=(bad, Y))
    with pytest.raises(dg.DiffgraphError, match="2 arrays in the order x, y"):
        reference().train(data=(X,))
    with pytest.raises(dg.DiffgraphError, match="nothing to train on"):
        reference(NOISY).train()


def test_a_loss_that_explodes_is_a_failed_run():
    net = reference()
    with pytest.raises(dg.RunFailed, match="the loss is (nan|inf) in step"):
        net.train(data=(X, Y), optimizer="sgd(lr = 1e30)", epochs=20)
    assert all(np.isfinite(v).all() for v in net.parameters.values())


def test_blocks_with_settings_of_their_own():
    text = LINE.replace("net line {", "net line(units = 1) {").replace("linear(1)", "linear(units)")
    text = text.replace("train line {", "train line(units = 1) as wide {")
    with pytest.raises(dg.DiffgraphError, match='train="wide"'):
        reference(text).train()
    net = reference(text, train="wide")
    assert len(net.train()) == 3


def test_it_shows_itself():
    net = reference()
    assert "linear1" in net.show() and "sum[" in net.show("forward")
    assert net._repr_html_().startswith("<svg") and "linear1" in net._repr_svg_()
    assert "3 parameters" in repr(net)


def test_the_net_that_a_file_declares_is_meant_before_one_that_it_brings():
    text = 'from "std/vision.net" import lenet\nnet own { input image[N, 1, 28, 28]\n output y = (image -> lenet) }\n'
    assert dg.loads(text).declared.name == "own"
    assert dg.loads('from "std/vision.net" import lenet\n').declared.name == "lenet"


# ---------------------------------------------------------------- what users of other libraries try


def test_arrays_by_place_and_patterns():
    net = reference()
    assert np.array_equal(net(X)["prediction"], net(x=X)["prediction"])
    assert net.loss(X, Y) == net.loss(x=X, y=Y)
    _, gradients = net.gradients(X.tolist(), y=Y, wrt=["*.bias", "x"])
    assert list(gradients) == ["linear1.bias", "x"]
    for wrong, message in (((X, Y, X), "takes 2 arrays"), (([[1], [1, 2]],), "no array")):
        with pytest.raises(dg.DiffgraphError, match=message) as failure:
            net(*wrong)
        assert failure.value.code.startswith("DG") and failure.value.message and failure.value.span is None
    with pytest.raises(dg.DiffgraphError, match="given twice"):
        net(X, x=X)


def test_parameters_are_a_mapping_that_keeps_its_paths():
    net = reference()
    net.parameters.update({"linear1.bias": [1.0]})
    assert dict(net.parameters)["linear1.bias"] == [1] and net.parameters.get("no") is None
    with pytest.raises(KeyError, match="did you mean `linear1.bias`"):
        net.parameters["linear1.bais"]
    with pytest.raises(dg.DiffgraphError, match="cannot be removed"):
        del net.parameters["linear1.bias"]


def test_weights_in_archives_and_in_part(tmp_path):
    net, other = reference(seed=1), reference(seed=2)
    net.save(tmp_path / "w.npz")
    assert set(np.load(tmp_path / "w.npz")) == set(net.parameters)
    other.load(tmp_path / "w.npz")
    assert np.array_equal(other(X)["prediction"], net(X)["prediction"])
    before = other.parameters["linear1.weight"].copy()
    other.load({"linear1.bias": [7.0], "head.weight": [1.0]}, strict=False)
    assert other.parameters["linear1.bias"] == [7] and np.array_equal(before, other.parameters["linear1.weight"])
    with pytest.raises(dg.DiffgraphError, match="DG954"):
        net.save(tmp_path / "w.pt")


@pytest.mark.parametrize("again", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_have_parameters_of_their_own(again):
    net = reference()
    net.parameters["linear1.bias"] = [3.0]
    made = again(net)
    assert np.array_equal(made(X)["prediction"], net(X)["prediction"])
    made.parameters["linear1.bias"] = [4.0]
    assert net.parameters["linear1.bias"] == [3]


def test_training_from_python(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    told = []
    history = reference().train(data=str(tmp_path / "d.npz"), lr=0.01, progress=told.append)
    assert told == list(history) and history["loss"] == [r.evaluation["loss"] for r in history]
    by_hand = reference().train(data=(X, Y), optimizer="sgd(lr = 0.01, momentum = 0.9)")
    assert history.losses == by_hand.losses
    with pytest.raises(dg.DiffgraphError, match="a function is no field"):
        reference().train(data=(X, Y), callback=lambda: 0)
