"""Pipes, instances, paths, sharing, freezing, nets inside nets (LANGUAGE.md section 5)."""

from __future__ import annotations

import numpy as np
import pytest
from elaboration import body, initial, network, paths, problem, run, value, values_of

X = np.arange(6.0).reshape(2, 3) - 2


def instances(made) -> list[str]:
    return [i.path for i in made.instances]


# ---------------------------------------------------------------- pipes


def test_a_pipe_into_a_function_gives_its_first_argument():
    assert value("x -> max(1)", x=X).min() == 1
    assert value("x -> f(10)", "fn f(a, b) = a - b", x=X).max() == -7
    assert value("(x, 10) -> f", "fn f(a, b) = a - b", x=X).max() == -7


def test_a_stage_may_be_any_expression_that_is_a_layer():
    head = "layer scale(k)(x) { return k * x }"
    assert value("x -> choice[1]", head + "\nchoice = [scale(1), scale(2)]", x=np.ones(1)) == 2
    assert value("x -> (scale(1) if false else scale(4))", head, x=np.ones(1)) == 4


def test_a_layer_is_not_a_function_of_tensors():
    found = problem(body("input x[N, 3]\noutput y = linear(x)"))
    assert "->" in (found.help or "")


def test_what_is_no_layer_cannot_be_applied():
    assert problem(body("input x[N, 3]\noutput y = x -> 3")).code == "DG524"


def test_a_composition_is_a_layer():
    text = "block = linear(4) -> relu -> linear(2)\noutput y = x -> block -> block"
    made = network(body("input x[N, 2]\n" + text))
    assert paths(made) == [f"linear{i}.{w}" for i in (1, 2, 3, 4) for w in ("weight", "bias")]


def test_a_composition_as_a_setting():
    head = "layer twice(f)(x) { return x -> f -> f }"
    made = network(body("input x[N, 2]\noutput y = x -> twice(linear(2) -> tanh)", head))
    assert paths(made)[::2] == ["twice1.linear1.weight", "twice1.linear2.weight"]


def test_functions_in_a_composition():
    head = "body = relu -> double -> leaky_relu(slope = 0.1)\nfn double(x) = 2 * x"
    assert value("x -> body", head, x=X).max() == 6


# ---------------------------------------------------------------- names


def test_automatic_names_number_each_type_within_its_parent():
    head = "layer block()(x) { return x -> linear(3) -> relu -> linear(3) }"
    made = network(body("input x[N, 3]\nh = x -> linear(3) -> relu -> block -> block\noutput y = h -> relu", head))
    assert instances(made) == [
        "linear1", "relu1", "block1.linear1", "block1.relu1", "block1.linear2", "block1",
        "block2.linear1", "block2.relu1", "block2.linear2", "block2", "relu2",
    ]  # fmt: skip


def test_inference_mode_gives_the_names_of_training_mode():
    head = "layer f()(x) {\nif training { x = x -> relu -> tanh }\nx = x -> relu\nreturn x -> linear(3)\n}"
    text = body("input x[N, 3]\nfor i in 0..2 { x = x -> f }\noutput y = x -> relu", head)
    training, inference = instances(network(text, training=True)), instances(network(text))
    assert "f1.relu2" in inference and "f1.relu1" not in inference
    assert set(inference) <= set(training)


def test_names_given_by_as():
    made = network(
        body(
            (
                "input x[N, 3]\nfor i in 0..2 { x = x -> linear(3) as fc[i] }\n"
                "x = x -> linear(3) as tail\noutput y = x -> linear(3) as 7"
            )
        )
    )
    assert paths(made)[::2] == ["fc.0.weight", "fc.1.weight", "tail.weight", "7.weight"]


def test_names_interpolate():
    made = network(
        body("input x[N, 3]\nfor s in 0..2 { for b in 0..2 { x = x -> linear(3) as layer{s + 1}[b] } }\noutput y = x")
    )
    assert paths(made)[::2] == ["layer1.0.weight", "layer1.1.weight", "layer2.0.weight", "layer2.1.weight"]


def test_groups():
    made = network(body("input x[N, 3]\noutput y = x -> (linear(4) as 0 -> relu -> linear(3) as 2) as head"))
    assert paths(made)[::2] == ["head.0.weight", "head.2.weight"]
    assert "head.relu1" in instances(made)
    made = network(body("input x[N, 3]\noutput y = x -> (linear(4) -> linear(3))"))
    assert paths(made)[::2] == ["linear1.weight", "linear2.weight"]


def test_two_instances_of_one_name():
    found = problem(body("input x[N, 3]\nx = x -> linear(3) as fc\noutput y = x -> linear(3) as fc"))
    assert found.code == "DG525" and found.notes and found.help


def test_a_given_name_that_an_automatic_one_has():
    text = "input x[N, 3]\nx = x -> linear(3)\noutput y = x -> linear(3) as linear1"
    assert problem(body(text)).code == "DG525"


def test_an_automatic_name_steps_over_a_given_one():
    made = network(body("input x[N, 3]\nx = x -> linear(3) as linear1\noutput y = x -> linear(3)"))
    assert paths(made)[::2] == ["linear1.weight", "linear2.weight"]


def test_resnet_is_named_as_pretrained_weights_are():
    from pathlib import Path

    from diffgraph.language.elaborate import elaborate
    from diffgraph.language.module import load_module

    module = load_module(Path(__file__).parents[2] / "examples" / "resnet.net")
    made = elaborate(module, "resnet50")
    names = {v.path: v.tensor.shape for v in (*made.parameters, *made.states)}
    assert names["conv1.weight"] == (64, 3, 7, 7)
    assert names["layer2.0.downsample.1.running_mean"] == (512,)
    assert names["layer4.2.bn3.bias"] == (2048,)
    assert names["fc.weight"] == (1000, 2048)
    assert len(made.parameters) == 161 and len(made.states) == 106


# ---------------------------------------------------------------- paths


def test_a_path_is_a_tensor_wherever_it_has_been_made():
    made = network(
        body(
            (
                "input token[N, 4]: int < 10\nh = token -> embedding(10, 6)\n"
                "output y = h @ transpose(embedding1.weight, 0, 1)"
            )
        )
    )
    assert paths(made) == ["embedding1.weight"]
    assert made.program.tensors[made.outputs[0].tensor].shape[1:] == (4, 10)


def test_paths_are_relative_to_the_layer():
    head = "layer f()(x) {\nx = x -> linear(3) as inner\nreturn x * inner.weight[0, 0]\n}"
    made = network(body("input x[N, 3]\nx = x -> f as one\nx = x -> f as two\noutput y = x * one.inner.bias", head))
    assert "one.inner.weight" in paths(made) and "two.inner.weight" in paths(made)


def test_a_path_that_is_not_there():
    found = problem(body("input x[N, 3]\nx = x -> linear(3)\noutput y = x * linear1.weigth"))
    assert found.code == "DG202" and "linear1.weight" in found.help


def test_parameters_and_paths_in_regularizers():
    text = "input x[N, 3]\nh = x -> linear(2) -> linear(1, bias = false)\noutput h\nloss {}"
    inputs = {"x": np.zeros((1, 3))}
    made = network(body(text.format("l2(parameters)")))
    start = initial(made)
    assert np.isclose(values_of(made, **inputs)["loss"], sum((v**2).sum() for v in start.values()))
    made = network(body(text.format("l2(linear1) + l1(linear2.weight)")))
    expected = sum((start[f"linear1.{w}"] ** 2).sum() for w in ("weight", "bias")) + abs(start["linear2.weight"]).sum()
    assert np.isclose(values_of(made, **inputs)["loss"], expected)


# ---------------------------------------------------------------- shared, frozen


def test_each_application_makes_new_parameters():
    made = network(body("input x[N, 3]\nfc = linear(3)\noutput y = x -> fc -> fc"))
    assert len(made.parameters) == 4


def test_shared_makes_one_set():
    made = network(
        body("input a[N, 3]\ninput b[N, 3]\nenc = shared(linear(2) -> tanh)\noutput p = a -> enc\noutput q = b -> enc")
    )
    assert len(made.parameters) == 2
    found = values_of(made, a=X, b=X)
    assert np.array_equal(found["p"], found["q"])


def test_shared_layers_with_instances_inside():
    head = "layer f()(x) { return x -> linear(3) -> relu -> linear(3) }"
    made = network(body("input x[N, 3]\ng = shared(f)\noutput y = x -> g as enc -> g -> g", head))
    assert paths(made)[::2] == ["enc.linear1.weight", "enc.linear2.weight"]


def test_an_unnamed_shared_group_adds_no_level():
    made = network(
        body("input x[N, 3]\ng = shared(linear(3) -> relu -> linear(3))\noutput y = x -> g -> linear(3) -> g")
    )
    assert paths(made)[::2] == ["linear1.weight", "linear2.weight", "linear3.weight"]


def test_shared_in_a_layer_is_shared_within_one_application():
    head = "layer f()(x) {\ng = shared(linear(3))\nreturn x -> g -> g\n}"
    made = network(body("input x[N, 3]\noutput y = x -> f -> f", head))
    assert paths(made)[::2] == ["f1.linear1.weight", "f2.linear1.weight"]


def test_a_shared_layer_keeps_its_shape():
    found = problem(body("input a[N, 3]\ninput b[N, 4]\nenc = shared(linear(2))\np = a -> enc\noutput q = b -> enc"))
    assert found.code == "DG527"


def test_frozen_parameters_are_not_trained():
    made = network(
        body(
            "input x[N, 3]\noutput y = x -> frozen(linear(3) -> batchnorm) -> linear(2)\nloss mean(l2(parameters) + y)"
        ),
        training=True,
    )
    assert {v.path: v.trained for v in made.parameters} == {
        "linear1.weight": False, "linear1.bias": False, "batchnorm1.weight": False, "batchnorm1.bias": False,
        "linear2.weight": True, "linear2.bias": True,
    }  # fmt: skip
    assert made.program.commits == ()
    names = {i.path: i.tensor.name for i in made.program.inputs}
    found = values_of(made, x=X)
    start = initial(made)
    assert np.isclose(found["loss"], (start["linear2.weight"] ** 2).sum() + found["y"].mean())
    assert "linear1.weight" in names


def test_training_is_false_inside_frozen():
    made = network(body("input x[N, 3]\noutput y = x -> frozen(dropout(0.5))"), training=True)
    assert values_of(made, x=X)["y"].tolist() == X.tolist()


# ---------------------------------------------------------------- nets in nets

INNER = (
    "net inner(width = 2) {\ninput x[N, D]\ntarget t[N]: int < 2\nh = x -> linear(width)\n"
    "output logits = h\noutput p = softmax(h)\nloss cross_entropy(h, t)\n}\n"
)


def test_a_net_is_a_layer_that_gives_its_outputs_by_name():
    made = network(
        body("input image[M, 3]\nr = image -> inner(4) as r\noutput y = r.p\noutput z = r.logits", INNER), "test"
    )
    assert paths(made) == ["r.linear1.weight", "r.linear1.bias"]
    assert made.losses == ()
    assert values_of(made, image=X)["y"].shape == (2, 4)


def test_a_net_with_one_output_gives_it():
    head = "net inner {\ninput x[N, D]\noutput y = x -> linear(2)\n}"
    assert run("input x[2, 3]\noutput y = (x -> inner) + 1", head, x=X)["y"].shape == (2, 2)


def test_a_net_with_several_outputs_is_no_tensor():
    found = problem(body("input x[N, 3]\noutput y = (x -> inner) + 1", INNER), net="test")
    assert "logits" in found.message + str(found.help)


def test_tensors_of_a_net_inside_are_reached_by_path():
    made = network(body("input x[N, 3]\nr = x -> inner as r\noutput y = r.linear1.weight", INNER), "test")
    assert made.program.tensors[made.outputs[0].tensor].shape == (2, 3)


def test_a_net_alias_has_other_settings():
    text = "net inner(width = 2) {\ninput x[N, 3]\noutput y = x -> linear(width)\n}\nnet wide = inner(7)"
    assert network(text, "wide").parameters[0].tensor.shape == (7, 3)
    assert network(text, "wide", settings={"width": 4}).parameters[0].tensor.shape == (4, 3)
    assert network(text, "inner", settings={"width": "2 + 3"}).parameters[0].tensor.shape == (5, 3)


# ---------------------------------------------------------------- what is recorded


def test_instances_know_their_tensors_and_parents():
    head = "layer f()(x) { return x -> linear(3) }"
    made = network(body("input x[N, 2]\nh = x -> f\noutput y = (h, h) -> concat(axis = 1)", head))
    inner, outer, joined = made.instances
    assert (inner.path, inner.type, inner.kind, inner.parent) == ("f1.linear1", "linear", "layer", "f1")
    assert outer.inputs == ("x",) and outer.outputs == inner.outputs
    assert joined.kind == "function" and joined.inputs == outer.outputs * 2


def test_every_definition_knows_its_layer_and_text():
    head = "layer f()(x) { return x -> linear(3) -> relu }"
    made = network(body("input x[N, 2]\noutput y = x -> f", head))
    origins = [o for s in made.program.statements for o in s.provenance]
    assert {o.path for o in origins} == {"f1.linear1", "f1.relu1"}
    assert all(o.span is not None and o.phase == "forward" for o in origins)


def test_instances_know_their_settings():
    made = network(body("input x[N, 1, 4, 4]\noutput y = x -> conv(6, 3, pad = 1, bias = false) -> relu"))
    assert [i.settings for i in made.instances] == ["channels = 6, kernel = 3, pad = 1, bias = false", ""]


@pytest.mark.parametrize("name", ['"a.b"', '"a b"', "1.5", "[1]"])
def test_names_of_instances_are_words(name):
    text = f"input x[N, 3]\nname = {name}\noutput y = x -> linear(3) as f{{name}}"
    assert problem(body(text)).code == "DG528"


def test_what_has_been_applied_can_be_named_behind():
    text = """net n {
        input x[N, 3]
        y = (x -> linear(2)) as p
        z = (x -> linear(4) -> linear(2) as last) as q -> relu
        output y
        output z
    }"""
    assert paths(network(text)) == ["p.weight", "p.bias", "q.linear1.weight", "q.linear1.bias", "q.last.weight", "q.last.bias"]


# ---------------------------------------------------------------- parameters with a path of their own


def test_a_parameter_may_be_named_by_a_computed_path():
    head = """layer scales(n, bias = true)(x[N, D]) {
        for i in 0..n {
            param w[D] = i + 1 as scale_{i}
            param b[D] = 10 as shift[i] if bias
            x = x * w + b
        }
        return x
    }"""
    assert paths(network(body("input x[N, 3]\noutput y = x -> scales(2) as s", head))) == [
        "s.scale_0", "s.shift.0", "s.scale_1", "s.shift.1",
    ]  # fmt: skip
    np.testing.assert_allclose(value("x -> scales(2)", head, x=X), (X + 10) * 2 + 10)
    assert paths(network(body("input x[N, 3]\noutput y = x -> scales(2, false)", head))) == [
        "scales1.scale_0", "scales1.scale_1",
    ]  # fmt: skip


def test_each_turn_of_a_loop_needs_a_name():
    head = "layer f(n)(x[D]) {\n for i in 0..n { param w[D] = 1\n x = x * w }\n return x\n}"
    found = problem(body("input x[3]\noutput y = x -> f(2)", head))
    assert found.code == "DG526" and "as w_{i}" in found.help
