"""Train blocks, plans, and the programs of whole steps (LANGUAGE.md sections 9 to 12)."""

from __future__ import annotations

import numpy as np
import pytest

from diffgraph.diagnostics import DiffgraphError
from diffgraph.ir.interpret import interpret
from diffgraph.language.blocks import train_block
from diffgraph.language.data_calls import Column, DataCall, column_program
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.language.step import loss_network, training_network

NET = (
    "net a(width = 2) {\ninput x[N, 3]\ntarget y[N, 1]\n"
    "out = x -> linear(width) as one -> linear(1) as two\noutput out\n"
    "loss mean((out - y)^2)\n}\n"
)
X = np.arange(12.0).reshape(4, 3) / 10
Y = np.ones((4, 1))


def plan_of(fields: str, net: str = NET, overrides=None, head: str = "train a"):
    return train_block(load_text(f"{net}{head} {{\n{fields}\n}}"), overrides=overrides)


def problems(fields: str, **options):
    with pytest.raises(DiffgraphError) as caught:
        plan_of(fields, **options)
    return caught.value.diagnostics


def problem(fields: str, **options):
    found = problems(fields, **options)
    assert len(found) == 1, "\n".join(d.render() for d in found)
    return found[0]


def starting_values(network, seed=0):
    given = {i.tensor.name: np.int64(seed) for i in network.initial.inputs if i.role == "run"}
    found = interpret(network.initial, given)
    return {o.name: found[o.tensor] for o in network.initial.outputs}


def steps(fields: str, count: int = 1, net: str = NET, total: int = 10, **arrays):
    """The values of parameters and states after each of some steps of the reference, and the losses."""
    network = training_network(plan_of(fields, net))
    values = starting_values(network)
    arrays = arrays or {"x": X, "y": Y}
    history = [dict(values)]
    for step in range(1, count + 1):
        given = {**values, **arrays, "seed": 0, "step": step, "total_steps": total}
        inputs = network.program.inputs
        found = interpret(network.program, {i.tensor.name: given[i.path] for i in inputs if i.path in given})
        paths = {i.tensor.name: i.path for i in inputs}
        values = {**values, **{paths[c.state]: found[c.tensor] for c in network.program.commits}}
        history.append(values | {f"loss {o.name}": found[o.tensor] for o in network.program.outputs})
    return history


def gradients(fields: str = "optimizer lbfgs", net: str = NET, **arrays):
    network = loss_network(plan_of(fields, net))
    given = {**starting_values(network), **(arrays or {"x": X, "y": Y}), "seed": 0, "step": 1, "total_steps": 10}
    found = interpret(
        network.program, {i.tensor.name: given[i.path] for i in network.program.inputs if i.path in given}
    )
    return {o.name.removeprefix("gradient of "): found[o.tensor] for o in network.program.outputs}


# ---------------------------------------------------------------- fields


def test_fields():
    plan = plan_of(
        'data csv("t.csv", target = "y", split = 1 / 4)\nbatch 2 * 16\nepochs 3\noptimizer adam(lr = 1e-3)\n'
        'freeze "one"\nstop_early(patience = 4)\naverage ema(0.99)\nseed 7\nclip_norm 1.0\n'
        "augment x -> random_noise(0.1)"
    )
    assert (plan.net, plan.name, plan.batch, plan.epochs, plan.steps, plan.seed) == ("a", "a", 32, 3, None, 7)
    assert plan.data.name == "csv" and plan.data.arguments == ("t.csv",)
    assert dict(plan.data.keywords) == {"target": "y", "split": 0.25}
    assert plan.freeze == ("one",) and plan.stop_early == {"patience": 4}
    assert [name for name, _ in plan.transforms] == ["clip_norm"]
    assert plan.optimizers[0].patterns is None and plan.lbfgs is None


def test_blocks_are_found_by_name():
    module = load_text(
        NET
        + (
            "net b { input x[N]\nparam w = 1\nloss w * x }\ntrain a { optimizer sgd\nseed 1 }\n"
            "train a as slow { optimizer sgd\nseed 2 }\ntrain b { optimizer sgd\nseed 3 }"
        )
    )
    assert train_block(module).seed == 1
    assert train_block(module, name="slow").seed == 2
    assert train_block(module, net="b").seed == 3
    assert train_block(module, net="a", name="a").seed == 1
    with pytest.raises(DiffgraphError, match="did you mean `slow`"):
        train_block(module, name="slo")


def test_a_net_with_other_settings():
    plan = plan_of("optimizer sgd", head="train a(width = 5) as wide")
    assert plan.name == "wide"
    network = training_network(plan)
    assert {v.path: v.tensor.shape for v in network.parameters}["one.weight"] == (5, 3)
    assert problem("optimizer sgd", head="train a(widht = 5)").help == "did you mean `width`?"


def test_every_problem_of_a_block_is_reported():
    found = problems("batch 0\nepoch 3\noptimizer adm(lr = 1)\nstop_early(patence = 3)\nseed nothing")
    assert [d.code for d in found] == ["DG604", "DG605", "DG606", "DG607", "DG201"]
    assert [d.help for d in found][1:4] == [
        "did you mean `epochs`?",
        "did you mean `adam`?",
        "did you mean `patience`?",
    ]


@pytest.mark.parametrize("fields, code", [
    ("optimizer sgd\nepochs 1\nsteps 2", "DG603"),
    ("optimizer sgd\nbatch 2\nbatch 3", "DG114"),
    ("optimizer sgd\noptimizer adam", "DG606"),
    ("optimizer sgd\noptimizer lbfgs", "DG606"),
    ("optimizer linear(3)", "DG606"),
    ("optimizer sgd(momentun = 0.9)", "DG230"),
    ("optimizer sgd\naverage relu", "DG615"),
    ("optimizer sgd\naugment 3", "DG613"),
    ("optimizer sgd\nbatch 3 for \"one\"", "DG608"),
    ("optimizer sgd\ndata 3", "DG608"),
    ("optimizer sgd\nbatch true", "DG604"),
])  # fmt: skip
def test_wrong_fields(fields, code):
    assert problem(fields).code == code


# ---------------------------------------------------------------- overrides


def test_fields_are_overridden():
    fields = "epochs 3\noptimizer sgd(0.1, momentum = 0.5)\naverage ema(0.9)"
    assert plan_of(fields, overrides={"epochs": 5}).epochs == 5
    assert plan_of(fields, overrides={"epochs": "2 + 2"}).epochs == 4
    assert plan_of(fields, overrides={"batch": np.int64(8)}).batch == 8
    plan = plan_of(fields, overrides={"steps": 50})
    assert plan.steps == 50 and plan.epochs is None
    assert plan_of(fields, overrides={"freeze": '"one"'}).freeze == ("one",)
    assert plan_of(fields, overrides={"optimizer": "lbfgs(memory = 5)"}).lbfgs == {"memory": 5}


def test_settings_of_fields_are_overridden():
    def learning_rate(overrides, fields):
        plan = plan_of(fields, overrides=overrides)
        before, after = starting_values(training_network(plan)), None
        network = training_network(plan)
        given = {**before, "x": X, "y": Y, "seed": 0, "step": 1, "total_steps": 10}
        found = interpret(
            network.program, {i.tensor.name: given[i.path] for i in network.program.inputs if i.path in given}
        )
        paths = {i.tensor.name: i.path for i in network.program.inputs}
        after = {paths[c.state]: found[c.tensor] for c in network.program.commits}
        return ((before["two.bias"] - after["two.bias"]) / gradients()["two.bias"]).item()

    for fields in ("optimizer sgd(0.1)", "optimizer sgd(lr = 0.1)", "optimizer sgd"):
        assert np.isclose(learning_rate({"optimizer.lr": 0.5}, fields), 0.5)
        assert np.isclose(learning_rate({"optimizer.lr": "1 / 8"}, fields), 0.125)
    assert problem("optimizer sgd", overrides={"average.decay": 0.5}).code == "DG605"
    assert problem("optimizer sgd", overrides={"epoch": 5}).help == "did you mean `epochs`?"


def test_a_net_without_a_block_is_trained_by_overrides():
    plan = train_block(load_text(NET), "a", overrides={"optimizer": "sgd(lr = 0.1)", "steps": 3})
    assert plan.steps == 3 and training_network(plan).program.commits


# ---------------------------------------------------------------- data


def test_sources_are_nested():
    data = plan_of("optimizer sgd\ndata denoise(fashion_mnist, noise = 0.3)").data
    assert data.name == "denoise" and dict(data.keywords) == {"noise": 0.3}
    assert isinstance(data.arguments[0], DataCall) and data.arguments[0].name == "fashion_mnist"


def test_a_source_may_have_the_name_of_a_net():
    net = NET.replace("net a", "net xor")
    assert plan_of("optimizer sgd\ndata xor(n = 100)", net, head="train xor").data.name == "xor"


def test_columns_are_drawn_and_computed_in_order():
    data = plan_of("optimizer sgd\ndata function(n = 500, x = uniform(-3, 3), y = sin(2 * x) + noise(x), z = normal)",
                   "fn noise(x) = 0 * x\n" + NET).data  # fmt: skip
    assert [isinstance(v, Column) for _, v in data.keywords] == [False, True, True, True]
    program = column_program(data, 500)
    run = {i.tensor.name: np.int64(3) for i in program.inputs}
    found = interpret(program, run)
    columns = {o.name: found[o.tensor] for o in program.outputs}
    assert columns["x"].shape == (500,) and columns["x"].min() < -2.9 and columns["x"].max() > 2.9
    assert np.allclose(columns["y"], np.sin(2 * columns["x"]))
    assert abs(columns["z"].mean()) < 0.2 and 0.8 < columns["z"].std() < 1.2


def test_a_formula_may_draw_anywhere():
    data = plan_of("optimizer sgd\ndata function(n = 400, x = uniform(0, 1), y = 2 * x + normal(0, 0.1))").data
    program = column_program(data, 400)
    found = interpret(program, {i.tensor.name: np.int64(0) for i in program.inputs})
    x, y = (found[program.output(n)] for n in "xy")
    assert 0.05 < (y - 2 * x).std() < 0.15


def test_wrong_columns():
    data = plan_of("optimizer sgd\ndata function(n = 4, x = uniform(0, 1), y = nothing, z = y + nowhere)").data
    with pytest.raises(DiffgraphError) as caught:
        column_program(data, 4)
    assert [d.span.text for d in caught.value.diagnostics] == ["nothing"]


# ---------------------------------------------------------------- steps


def test_gradient_descent():
    before, after = steps("optimizer sgd(lr = 0.1)")
    for path, gradient in gradients().items():
        if path != "loss":
            assert np.allclose(after[path], before[path] - 0.1 * gradient)


def test_states_of_optimizers_start_at_their_initial_values_and_are_kept():
    history = steps("optimizer sgd(lr = 0.1, momentum = 0.9)", 2)
    first = gradients()["two.bias"]
    assert history[0]["two.bias.v"] == 0
    assert np.allclose(history[1]["two.bias.v"], first)
    assert np.allclose(history[2]["two.bias"], history[1]["two.bias"] - 0.1 * history[2]["two.bias.v"])


def test_schedules_are_formulas_of_the_step():
    net = "net a { input x[N]\nparam w = 0\nloss w + 0 * mean(x) }\n"
    history = steps(
        "optimizer sgd(lr = ramp(2))", 3, "fn ramp(peak) = peak * step / total_steps\n" + net, x=np.zeros(2)
    )
    assert np.allclose([h["w"] for h in history], [0, -0.2, -0.6, -1.2])


def test_several_optimizers():
    fields = 'optimizer sgd(lr = 0.1)\noptimizer sgd(lr = 0) for "*.bias"\noptimizer sgd(lr = 1) for two.weight'
    before, after = steps(fields)
    found = gradients()
    assert np.allclose(after["one.weight"], before["one.weight"] - 0.1 * found["one.weight"])
    assert np.array_equal(after["one.bias"], before["one.bias"])
    assert np.allclose(after["two.weight"], before["two.weight"] - found["two.weight"])


def step_problem(fields: str, net: str = NET):
    with pytest.raises(DiffgraphError) as caught:
        training_network(plan_of(fields, net))
    (found,) = caught.value.diagnostics
    return found


def test_paths_that_name_nothing():
    assert step_problem('optimizer sgd\nfreeze "tow"').help == "did you mean `two`?"
    assert step_problem('optimizer sgd\noptimizer adam for "one.wieght"').help == "did you mean `one.weight`?"


def test_a_parameter_without_an_optimizer():
    assert "two.weight" in step_problem('optimizer sgd for "one"').message


def test_an_optimizer_that_changes_nothing():
    head = "optimizer lazy()(w, g) {\nx = w - g\n}\n"
    assert "lazy" in step_problem("optimizer lazy", head + NET).message


def test_a_net_without_a_loss():
    assert step_problem("optimizer sgd", "net a { input x[N, 3]\noutput y = x -> linear(2)\n}\n").code == "DG611"


def test_an_error_in_an_optimizer_tells_where():
    head = "optimizer wrong()(w, g) {\nw <- w - missing * g\n}\n"
    assert "missing" in step_problem("optimizer wrong", head + NET).message


def test_freeze():
    net = NET.replace("-> linear(1) as two", "-> batchnorm as bn -> linear(1) as two")
    network = training_network(plan_of('optimizer sgd\nfreeze "one", "bn"', net))
    states = {i.tensor.name: i.path for i in network.program.inputs}
    assert sorted(states[c.state] for c in network.program.commits) == ["two.bias", "two.weight"]
    # Statistics of what is frozen stay: it works as at inference.
    assert "bn.running_mean" in states.values()


def test_freezing_keeps_the_names_of_inference():
    head = (
        "layer f()(x) {\nif training { x = x -> linear_noise }\n"
        "return x -> linear(3) -> linear_noise -> linear(3)\n}\n"
        "layer linear_noise()(x) { return x }\n"
    )
    net = head + "net a { input x[N, 3]\nloss x -> f as f -> linear(1) }\n"
    module = load_text(net + "train a { optimizer sgd\nfreeze f }")
    inference = elaborate(module, "a")
    training = training_network(train_block(module))
    assert [v.path for v in training.parameters] == [v.path for v in inference.parameters]


def test_clip_norm():
    before, after = steps("optimizer sgd(lr = 1)\nclip_norm 0.01")
    moved = np.sqrt(sum(((after[p] - before[p]) ** 2).sum() for p in gradients() if p != "loss"))
    assert np.isclose(moved, 0.01, rtol=1e-3)


def test_averages():
    history = steps("optimizer sgd(lr = 0.1)\naverage ema(0.5)", 2)
    assert np.array_equal(history[0]["one.weight.average"], history[0]["one.weight"])
    # Early on it forgets faster: the rate of step 1 is 2 / 11.
    expected = 2 / 11 * history[0]["one.weight"] + 9 / 11 * history[1]["one.weight"]
    assert np.allclose(history[1]["one.weight.average"], expected)


def test_an_optimizer_may_start_from_the_weight():
    head = "optimizer anchored()(w, g) {\nstate start[w.shape] = w\nw <- start - g\n}\n"
    history = steps("optimizer anchored", 1, head + NET)
    assert np.array_equal(history[0]["one.weight.start"], history[0]["one.weight"])


def test_augmentation_is_for_training_only():
    head = "layer zero()(x) { return 0 * x }\n"
    out = steps("optimizer sgd(lr = 1)\naugment x -> zero", 1, head + NET)[1]
    before = steps("optimizer sgd(lr = 1)", 0, head + NET)[0]
    assert np.array_equal(out["one.weight"], before["one.weight"])


def test_augmentations_follow_one_another_and_keep_the_names_of_the_net():
    head = "layer plus(k)(x) { return x + k }\nlayer linear_part()(x) { return 2 * x }\n"
    net = head + "net a { input x[N, 3]\nh = x -> plus(1)\nparam w = 0\noutput h\nloss mean(h) * w }\n"
    network = training_network(
        plan_of("optimizer sgd\naugment x -> plus(10) -> linear_part\naugment x -> plus(5)", net)
    )
    assert [i.path for i in network.instances if not i.path.startswith("augment")] == ["plus1"]
    history = steps(
        "optimizer sgd(lr = 1)\naugment x -> plus(10) -> linear_part\naugment x -> plus(5)", 1, net, x=np.zeros((1, 3))
    )
    assert history[1]["w"] == -26


def test_wrong_augmentations():
    assert step_problem("optimizer sgd\naugment image -> random_noise(1)").help is not None
    assert "parameters" in step_problem("optimizer sgd\naugment x -> linear(3)").message
    assert "shape" in step_problem("optimizer sgd\naugment x -> flatten(from = 0)").message


def test_the_labels_of_an_update():
    network = training_network(plan_of("optimizer adam"))
    phases = {o.phase for s in network.program.statements for o in s.provenance}
    assert phases == {"forward", "backward", "update"}
    update = [o for s in network.program.statements for o in s.provenance if o.phase == "update"]
    assert {o.path for o in update} == {"one.weight", "one.bias", "two.weight", "two.bias"}
    assert all(o.span is not None for o in update)


# ---------------------------------------------------------------- several losses


def test_a_loss_with_a_scope_reaches_its_parameters_only():
    net = "net a { input x[N, 3]\np = x -> linear(1) as one -> linear(1) as two\nloss mean(p) for one\n}\n"
    before, after = steps("optimizer sgd(lr = 0.1)", 1, net, x=X)
    assert np.array_equal(before["two.weight"], after["two.weight"])
    assert not np.array_equal(before["one.weight"], after["one.weight"])


def test_losses_are_stepped_in_the_order_written():
    # The second loss sees the parameters that the first one has already changed.
    net = "net a { input x[N]\nparam u = 1\nparam w = 1\nloss u * 2 + 0 * mean(x) for u\nloss u * w * 3 for w\n}\n"
    after = steps("optimizer sgd(lr = 0.1)", 1, net, x=np.zeros(1))[1]
    assert np.isclose(after["u"], 1 - 0.2)
    assert np.isclose(after["w"], 1 - 0.1 * 3 * 0.8)


def test_a_later_loss_does_not_differentiate_through_an_earlier_step():
    net = "net a { input x[N]\nparam u = 1\nparam w = 2\nloss u * w + 0 * mean(x) for u\nloss u * w for w\n}\n"
    after = steps("optimizer sgd(lr = 0.1)", 1, net, x=np.zeros(1))[1]
    assert np.isclose(after["u"], 1 - 0.2)
    assert np.isclose(after["w"], 2 - 0.1 * 0.8)


def test_two_losses_for_one_parameter_are_two_steps():
    net = "net a { input x[N]\nparam w = 1\nloss w^2 + 0 * mean(x)\nloss w^2\n}\n"
    history = steps("optimizer sgd(lr = 0.1, momentum = 0.5)", 1, net, x=np.zeros(1))
    w = 1 - 0.1 * 2
    v = 0.5 * 2 + 2 * w
    assert np.isclose(history[1]["w"], w - 0.1 * v) and np.isclose(history[1]["w.v"], v)
