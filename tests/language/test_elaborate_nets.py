"""Ports, losses, metrics, states, draws, modes, loops that run (LANGUAGE.md sections 4, 7, 8, 9)."""

from __future__ import annotations

import numpy as np
import pytest
from elaboration import body, initial, network, problem, run, values_of

X = np.arange(6.0).reshape(2, 3) - 2


# ---------------------------------------------------------------- shapes


def test_the_batch_is_the_first_axis_of_the_first_input():
    made = network(body("input x[N, H]\ntarget y[N]\noutput x"))
    assert made.batch == "N" and made.symbols == ("N", "H")
    assert network(body("target y[B, 2]\nparam w[2] = 0\nloss mean(y * w)")).batch == "B"
    assert network(body("input x[4]\ntarget y[N]\nloss mean(x) * mean(y)")).batch is None


def test_each_later_use_of_a_symbol_must_agree():
    made = network(body("input x[N, D]\ninput y[N, D]\noutput z = x + y"))
    assert made.requirements == ()


def test_what_cannot_be_decided_becomes_a_requirement():
    text = body(
        (
            "input x[N, 1, H, 8]\nh = x -> maxpool(2) -> conv_transpose(1, 2, stride = 2)\n"
            "output y = concat(x, h, axis = 1)"
        )
    )
    assert [r.split(",")[0] for r in network(text).requirements] == ["H % 2 == 0"]
    assert network(text, sizes={"H": 6}).requirements == ()
    assert "concat" in problem(text, sizes={"H": 7}).message


def test_inputs_have_kinds_and_bounds():
    made = network(
        body("input a[N]: int < 10\ninput b[N]: bool\ninput c[N]: int\ninput d[N]: float\noutput y = a + b + c + d")
    )
    kinds = [(p.tensor.kind, p.tensor.bound) for p in made.inputs]
    assert kinds == [("int", 10), ("bool", None), ("int", None), ("float", None)]


def test_a_port_is_declared_once():
    assert problem(body("input x[N]\ninput x[N]\noutput x")).code == "DG515"


def test_ports_belong_into_nets():
    assert problem(body("input x[N]\noutput y = x -> f", "layer f()(x) {\ninput z[N]\nreturn x\n}")).code == "DG511"


# ---------------------------------------------------------------- results


def test_results_are_named():
    text = (
        "input x[N, 3]: float\ntarget t[N]: int < 3\noutput p = softmax(x), x\n"
        "output softmax(2 * x)\nloss cross_entropy(x, t)\nmetric accuracy(x, t)\n"
        "metric top_2 = accuracy(x, t, top = 2)"
    )
    made = network(body(text))
    assert [o.name for o in made.outputs] == ["p", "x", "softmax"]
    assert [m.name for m in made.metrics] == ["accuracy", "top_2"]
    assert [o.name for o in made.program.outputs] == ["p", "x", "softmax", "loss", "accuracy", "top_2"]


def test_two_results_of_one_name():
    assert problem(body("input x[N]\noutput relu(x)\noutput relu(-x)")).code == "DG516"


def test_an_output_is_bound():
    assert run("input x[2, 3]\noutput p = 2 * x\noutput q = p + 1", x=X)["q"].tolist() == (2 * X + 1).tolist()


def test_a_loss_is_averaged():
    assert run("input x[2, 3]\nloss x^2", x=X)["loss"] == np.mean(X**2)


def test_losses_have_scopes():
    made = network(
        body(
            (
                "input x[N, 3]\ng = x -> linear(3) as generator\nd = g -> linear(1) as critic\n"
                "loss mean(d) for critic\nloss a = -mean(d) for generator"
            )
        )
    )
    assert [(loss.name, loss.scope) for loss in made.losses] == [("loss", "critic"), ("a", "generator")]


def test_a_net_that_gives_nothing():
    assert problem(body("input x[N]\ny = 2 * x")).code == "DG517"


def test_a_net_is_found_by_name_with_a_suggestion():
    text = "net first { input x[N]\noutput x\n}\nnet second { input x[N]\noutput x\n}"
    assert network(text, "second").name == "second"
    assert problem(text, net="secnd").help == "did you mean `second`?"


def test_settings_from_outside():
    text = "net a(width = 2, act = relu) { input x[N, 3]\noutput y = x -> linear(width) -> act\n}"
    assert network(text, settings={"width": "3 + 4"}).parameters[0].tensor.shape == (7, 3)
    assert network(text, settings={"act": "leaky_relu(slope = 0.1)"}).instances[-1].type == "leaky_relu"
    assert problem(text, settings={"widht": 3}).help == "did you mean `width`?"


# ---------------------------------------------------------------- state


STATEFUL = "layer count()(x) {\nstate n = 10\nbefore = n\nn <- n + 1\nreturn x * 0 + before * 100 + n\n}"


def test_an_update_takes_effect_at_once_and_is_committed_at_the_end():
    found = run("input x[2]\noutput y = x -> count", STATEFUL, x=np.zeros(2))
    assert found["y"].tolist() == [1011, 1011]
    assert found["count1.n <-"] == 11


def test_a_shared_state_is_updated_once_more_by_each_application():
    found = run("input x[2]\nc = shared(count)\ny = x -> c\noutput z = x -> c", STATEFUL, x=np.zeros(2))
    assert found["z"].tolist() == [1112, 1112]
    assert found["count1.n <-"] == 12


def test_an_update_by_element():
    text = "layer f()(x) {\nstate s[3] = 1\ns[i] <- s[i] * 2 + i\nreturn x + s\n}"
    assert run("input x[3]\noutput y = x -> f", text, x=np.zeros(3))["f1.s <-"].tolist() == [2, 3, 4]


def test_an_update_of_another_shape():
    text = "layer f()(x) {\nstate s[3] = 1\ns <- [1, 2]\nreturn x\n}"
    assert problem(body("input x[3]\noutput y = x -> f", text)).code in ("DG504", "DG506")


def test_only_states_can_be_updated():
    found = problem(body("input x[3]\ny = x\ny <- x\noutput y"))
    assert found.code == "DG507" and "state y" in found.help


def test_batchnorm_updates_its_statistics_in_training_only():
    text = "input x[4, 3]\noutput y = x -> batchnorm"
    x = np.random.default_rng(0).standard_normal((4, 3))
    found = run(text, training=True, x=x)
    assert np.allclose(found["batchnorm1.running_mean <-"], 0.1 * x.mean(0))
    assert np.allclose(found["batchnorm1.running_var <-"], 0.9 + 0.1 * x.var(0, ddof=1))
    assert np.allclose(found["y"].mean(0), 0)
    assert set(run(text, x=x)) == {"y"}


# ---------------------------------------------------------------- draws


def test_draws_are_functions_of_seed_step_and_path():
    made = network(
        body("input x[N, 1000]\na = x -> dropout(0.5)\noutput a\noutput b = x -> dropout(0.5)"), training=True
    )
    x = np.ones((2, 1000))
    first = values_of(made, x=x, step=1)
    assert 0.4 < (first["a"] == 0).mean() < 0.6 and set(np.unique(first["a"])) == {0, 2}
    assert np.array_equal(first["a"], values_of(made, x=x, step=1)["a"])
    assert not np.array_equal(first["a"], first["b"])
    assert not np.array_equal(first["a"], values_of(made, x=x, step=2)["a"])
    assert not np.array_equal(first["a"], values_of(made, x=x, step=1, seed=1)["a"])


def test_a_binding_in_a_loop_is_another_draw_each_time():
    text = (
        "input x[100]\nout = []\nfor i in 0..2 {\nnoise[100] ~ normal(0, 1)\n"
        "out = out + [noise]\n}\noutput a = out[0]\noutput b = out[1]"
    )
    found = run(text, x=np.zeros(100))
    assert not np.array_equal(found["a"], found["b"])


def test_draws_pass_gradients_to_their_arguments():
    text = "input mu[50]\nz[50] ~ normal(mu, 2)\noutput z\noutput g = grad(sum(z), mu)"
    assert run(text, mu=np.zeros(50))["g"].tolist() == [1] * 50


def test_a_draw_in_a_scan_is_new_in_each_step():
    text = (
        "input x[4]\npath = scan t in 0..5 from h = x {\nnoise[4] ~ normal(0, 1)\n"
        "next h = h + noise\nyield noise\n}\noutput path"
    )
    found = run(text, x=np.zeros(4))["path"]
    assert len(np.unique(found)) == 20


def test_what_is_no_distribution():
    assert problem(body("param w[3] ~ linear(3)\noutput y = w")).code == "DG503"


# ---------------------------------------------------------------- loops that run


def test_scan_yields():
    text = (
        "input x[3]\npath = scan t in 0..4 from p = x, v = 1 {\nnext p = p + v\n"
        "next v = 2 * v\nyield p\n}\noutput path\noutput z = last(path)"
    )
    found = run(text, x=np.zeros(3))
    assert found["path"][:, 0].tolist() == [0, 1, 3, 7] and found["z"].tolist() == [7, 7, 7]


def test_scan_without_yield_gives_the_final_carry():
    assert run("input x[2]\nh = scan t in 0..3 from h = x { next h = h + t }\noutput h", x=np.zeros(2))[
        "h"
    ].tolist() == [3, 3]


def test_scan_yields_several():
    text = "input x[2]\na, b = scan t in 0..3 from h = x {\nnext h = h + 1\nyield h, 2 * h\n}\noutput y = b - a"
    assert run(text, x=np.zeros(2))["y"].tolist() == [[0, 0], [1, 1], [2, 2]]


def test_scan_counts_backwards_and_by_steps():
    text = "input x[6]\npath = scan t in 5..-1 step -2 from h = 0 {\nnext h = h + x[t]\nyield h + x[t]\n}\noutput path"
    assert run(text, x=np.arange(6.0))["path"].tolist() == [5, 8, 9]


def test_scan_runs_over_a_size_that_is_not_known():
    text = "input x[N, T, 2]\nh = scan t in 0..T from h = zeros([N, 2]) { next h = h + x[:, t, :] }\noutput h"
    x = np.random.default_rng(0).standard_normal((3, 5, 2))
    assert np.allclose(values_of(network(body(text)), x=x)["h"], x.sum(1))


def test_an_int_carry_keeps_its_bound_where_its_next_value_does():
    text = """table = [[0, 1], [2, 0], [1, 2]]
    net n {
        input x[N, 3]
        input bit[N, 4]: int < 2
        a = x -> linear(2) as first
        s = scan t in 0..4 from s = argmax(a, axis = 1) { new[n] = table[s[n], bit[n, t]]; next s = new }
        output s
    }"""
    # It starts below 2, and is below 3 from the first step on.
    made = network(text)
    assert made.program.tensors[made.outputs[0].tensor].bound == 3 and len(made.parameters) == 2
    assert "1 to 3" in problem(text.replace("table[s[n]", "table[s[n] + 1")).message


def test_an_int_carry_that_leaves_its_bound_has_a_wider_one_or_none():
    grows = network("net n { input k[N]: int < 3; s = scan t in 0..4 from s = k { next s = s + k }; output s }")
    assert grows.program.tensors[grows.outputs[0].tensor].bound is None
    assert values_of(grows, k=np.array([0, 1, 2]))["s"].tolist() == [0, 5, 10]
    wider = network("net n { input k[N]: int < 3; s = scan t in 0..4 from s = k { next s = (s + 1) % 7 }; output s }")
    assert wider.program.tensors[wider.outputs[0].tensor].bound == 7


def test_layers_in_a_scan_are_shared_over_its_steps():
    text = (
        "input x[N, 5, 3]\n"
        "h = scan t in 0..5 from h = zeros([N, 3]) { next h = tanh((x[:, t, :] -> linear(3)) + (h -> linear(3))) }\n"
        "output h\nloss mean(h)"
    )
    made = network(body(text))
    assert [v.path for v in made.parameters] == ["linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"]
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    start = initial(made)
    h = np.zeros((2, 3))
    for t in range(5):
        h = np.tanh(
            x[:, t] @ start["linear1.weight"].T
            + start["linear1.bias"]
            + h @ start["linear2.weight"].T
            + start["linear2.bias"]
        )
    assert np.allclose(values_of(made, x=x)["h"], h)


def test_a_state_in_a_scan_is_carried():
    text = "input x[2]\nh = scan t in 0..3 from h = x { next h = h -> count }\noutput h"
    found = run(text, STATEFUL, x=np.zeros(2))
    assert found["count1.n <-"] == 13 and found["h"][0] == 1200 + 13


def test_an_assert_in_a_scan_is_checked_in_each_step():
    text = 'input x[2]\nh = scan t in 0..3 from h = x {\nassert h < 10, "h is too large"\nnext h = h + 4\n}\noutput h'
    assert run(text, x=np.zeros(2))["h"].tolist() == [12, 12]
    with pytest.raises(Exception, match="h is too large"):
        run(text, x=np.full(2, 3.0))


def test_the_gradient_of_a_scan():
    text = "input x[2]\nh = scan t in 0..3 from h = x checkpoint 2 { next h = h * h }\noutput g = grad(sum(h), x)"
    assert np.allclose(run(text, x=np.array([1.1, 0.5]))["g"], 8 * np.array([1.1, 0.5]) ** 7)


def test_a_derivative_in_a_scan():
    text = (
        "input x[2]\nh = scan t in 0..3 from h = x {\nenergy = sum(h^2)\n"
        "next h = h - 0.1 * grad(energy, h)\n}\noutput h"
    )
    assert np.allclose(run(text, x=np.ones(2))["h"], 0.8**3)


def test_scans_inside_scans():
    text = (
        "input x[2]\nh = scan t in 0..3 from h = x {\n"
        "k = scan s in 0..2 from k = h { next k = k + 1 + t }\nnext h = k\n}\noutput h"
    )
    assert run(text, x=np.zeros(2))["h"].tolist() == [12, 12]


def test_next_keeps_its_shape():
    text = "input x[2]\nh = scan t in 0..3 from h = x { next h = concat(h, h, axis = 0) }\noutput h"
    assert problem(body(text)).code in ("DG301", "DG551")
    assert problem(body("input x[2]\nh = scan t in 0..3 from h = x { next k = h }\noutput h")).code == "DG555"
    assert problem(body("input x[2]\nnext x = 1\noutput x")).code == "DG554"


# ---------------------------------------------------------------- derivatives


def test_grad_is_differentiable():
    text = "input x[3]\ng = grad(sum(x^3), x)\noutput g\noutput h = grad(sum(g^2), x)"
    x = np.array([1.0, 2.0, -1.0])
    found = run(text, x=x)
    assert np.allclose(found["g"], 3 * x**2) and np.allclose(found["h"], 36 * x**3)


def test_grad_of_what_does_not_depend_is_zero():
    assert run("input x[3]\ny = x * 0 + 1\noutput g = grad(sum(ones([2])), x)", x=np.ones(3))["g"].tolist() == [0, 0, 0]


def test_grad_wants_a_named_tensor():
    assert problem(body("input x[3]\noutput g = grad(x^2, 2 * x)")).code == "DG228"


def test_a_range_between_sizes_is_a_value_that_a_scan_runs_over():
    text = "net n { input x[N, T]; r = T - 1..-1 step -1; s = scan t in r from s = zeros([N]) { next s = 2 * s + x[:, t] }; output s }"
    made = network(text)
    found = values_of(made, x=np.array([[1.0, 0, 1]]))
    assert found["s"].tolist() == [5]
    assert "the size T" in problem(text.replace("s = scan t in r", "for t in r { u = t }; s = scan t in 0..T")).message


def test_recurrent_layers_run_over_sequences_of_any_length():
    for layer in ("rnn(2)", "gru(2)", "lstm(2, reverse = true)"):
        assert network(f"net n {{ input x[N, T, 3]; output x -> {layer} as r }}").symbols == ("N", "T")


def test_a_parameter_is_found_where_its_instance_has_the_name_of_something_else():
    made = network("""net teacher { input x[N, 3]; output h = x -> linear(4) as body -> tanh }
    layer enc()(x) { return x -> linear(2) -> tanh }
    net n {
        input x[N, 3]
        t = x -> frozen(teacher()) as teacher
        h = x -> enc as h
        output a = teacher.body.weight
        output b = h.linear1.weight
        output t
    }""", "n")
    assert [made.program.tensors[o.tensor].shape for o in made.outputs[:2]] == [(4, 3), (2, 3)]
