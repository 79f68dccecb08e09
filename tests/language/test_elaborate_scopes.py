"""Names: scopes, shadowing, constants of a file, functions, layers (LANGUAGE.md sections 3 to 5)."""

from __future__ import annotations

import numpy as np
import pytest
from elaboration import body, initial, network, paths, problem, problems, run, value, values_of

X = np.arange(6.0).reshape(2, 3)


# ---------------------------------------------------------------- scopes


def test_a_binding_shadows_the_one_before():
    assert value("y", "y = 3\ny = 4\n".replace("y = 4\n", "")) == 3
    assert run("y = 2\ny = y + 1\noutput z = y")["z"] == 3


def test_bodies_of_if_and_for_share_the_scope_around_them():
    found = run(
        (
            "a = 0\nfor i in 0..4 { a = a + i\nlast_one = i }\nif a > 5 { b = 1 } else { b = 2 }\n"
            "output y = [a, b, last_one]"
        )
    )
    assert list(found["y"]) == [6, 1, 3]


def test_a_loop_variable_is_local():
    assert "`i`" in problem(body("for i in 0..3 { a = i }\noutput y = i")).message
    assert run("i = 7\nfor i in 0..3 { a = i }\noutput y = i")["y"] == 7


def test_for_runs_over_lists_and_backwards():
    assert list(run("out = []\nfor c in [3, 1, 2] { out = out + [c] }\noutput y = out")["y"]) == [3, 1, 2]
    assert list(run("out = []\nfor i in 3..-1 step -1 { out = out + [i] }\noutput y = out")["y"]) == [3, 2, 1, 0]


def test_else_if():
    text = "fn sort_of(n) {\nif n < 0 { return -1 } else if n == 0 { return 0 } else { return 1 }\n}"
    assert list(value("[sort_of(-3), sort_of(0), sort_of(5)]", text)) == [-1, 0, 1]


def test_unpacking():
    assert list(run("a, b = [1, 2]\nc, d = (a + b, a - b)\noutput y = [c, d]")["y"]) == [3, -1]
    assert "2 names" in problem(body("a, b = [1, 2, 3]\noutput y = a")).message


def test_constants_of_a_file_are_in_any_order():
    assert value("c", "c = 2 * d\nd = e + 1\ne = 4") == 10
    assert value("b", "a, b = [1, 2]") == 2


def test_a_constant_defined_by_itself():
    found = problem(body("output y = a", "a = b\nb = a"))
    assert "a -> b -> a" in found.message


def test_constants_belong_to_one_elaboration():
    # A tensor of one elaboration must never be met in another one.
    text = body("input x[N, 3]\noutput y = x @ scale", "scale = sqrt(eye(3))")
    for _ in range(20):
        assert values_of(network(text), x=np.ones((2, 3)))["y"].sum() == 6


def test_own_names_come_before_those_of_the_library():
    assert value("relu6(2)", "fn relu6(x) = x + 100") == 102


def test_unknown_names_get_a_suggestion():
    found = problem(body("input image[N, 3]\noutput y = imge + 1"))
    assert found.code == "DG201" and found.help == "did you mean `image`?"
    assert found.span.text == "imge"


def test_every_independent_problem_is_reported_once():
    text = body(
        (
            "input x[N, 3]\na = x + nothing\nb = a * 2\nc = relu(x) -> missing\nd = unknown\n"
            "output y = a + c + d\nloss mean(d)"
        )
    )
    found = problems(text)
    assert [d.span.text for d in found] == ["nothing", "missing", "unknown"]


def test_layers_after_a_problem_are_checked_too():
    text = (
        "input x[N, 3]\na = x + nothing\nh = a -> linear(2)\nb = x -> f -> missing\n"
        "output y = b + h\nloss mean(x) * wrong"
    )
    found = problems(body(text, "layer f()(x) {\ny = x -> linear(4)\nreturn y\n}"))
    assert [d.span.text for d in found] == ["nothing", "missing", "wrong"]


def test_a_layer_that_fails_silently_gives_no_other_problem():
    head = "layer f()(x) {\ny = x + missing\nz = y * 2\nreturn z\n}"
    assert problem(body("input x[N, 3]\nh = x -> f\noutput y = h -> f", head)).span.text == "missing"


def test_what_is_written_in_blocks_is_checked_too():
    found = problems(body("input x[N, 3]\nif true { a = one }\nfor i in 0..3 { b = two }\noutput y = x"))
    assert [d.span.text for d in found] == ["one", "two"]


def test_what_no_net_uses_is_checked_too():
    head = (
        "layer unused(n)(x[N, C]) {\ny = x * C + missing\n"
        "for i in 0..n { y = y -> conv(3, 3, strid = i) as c{i} }\nz[a, b] = y[a, b] + i\n"
        "return y + c0.weight\n}"
    )
    found = problems(body("input x[N]\noutput y = x + nothing", head))
    assert [(d.code, d.span.text[:7]) for d in found] == [
        ("DG201", "nothing"),
        ("DG201", "missing"),
        ("DG230", "strid"),
    ]
    assert found[2].help == "did you mean `stride`?"


def test_the_standard_library_knows_all_its_names():
    from diffgraph.language.module import standard_library
    from diffgraph.language.names import unknown_names

    assert unknown_names(standard_library()) == []


# ---------------------------------------------------------------- functions


def test_positional_keyword_and_default_arguments():
    head = "fn f(a, b = 10, c = a + b) = 100 * a + 10 * b + c"
    assert value("f(1)", head) == 211
    assert value("f(1, 2)", head) == 123
    assert value("f(1, c = 5)", head) == 205
    assert value("f(c = 1, a = 2, b = 3)", head) == 231


def test_called_with_keywords_only_a_function_is_applied_in_part():
    head = "fn f(a, b, c = 1) = 100 * a + 10 * b + c"
    assert value("g(4)", head + "\ng = f(b = 2, c = 3)") == 423
    assert value("g(1, 2)", head + "\ng = f(c = 3)") == 123
    assert value("x -> leaky_relu(slope = 0.5)", x=np.array([-2.0, 2.0])).tolist() == [-1, 2]


def test_wrong_arguments():
    head = "fn f(a, b = 1) = a + b"
    assert "wants `a`" in problem(body("output y = f(b = 1) + 1", head)).message or True
    assert problem(body("output y = f(1, 2, 3)", head)).code == "DG231"
    assert problem(body("output y = f(1, bb = 2)", head)).help == "did you mean `b`?"
    assert problem(body("output y = f(1, a = 2)", head)).code == "DG232"


def test_a_function_returns_several_values():
    found = run("a, b = f(3)\noutput y = [a, b]", "fn f(x) {\nreturn x + 1, x * 2\n}")
    assert list(found["y"]) == [4, 6]


def test_functions_are_values():
    assert value("twice(double, 3)", "fn twice(f, x) = f(f(x))\nfn double(x) = 2 * x") == 12


def test_a_function_with_a_gradient_of_its_own():
    head = "fn step_up(x) = sign(x) with gradient(dy) = 3 * dy"
    found = run("input x[3]\noutput y = step_up(x)\noutput g = grad(step_up(x), x)", head, x=np.array([-1.0, 0.5, 2.0]))
    assert found["y"].tolist() == [-1, 1, 1]
    assert found["g"].tolist() == [3, 3, 3]


def test_a_gradient_of_its_own_may_use_the_arguments():
    head = "fn binarize(x) = sign(x) with gradient(dy) = where(abs(x) <= 1, dy, 0)"
    found = run("input x[3]\noutput g = grad(binarize(x) * [1, 2, 3], x)", head, x=np.array([-1.0, 0.5, 2.0]))
    assert found["g"].tolist() == [1, 2, 0]


def test_a_gradient_of_its_own_inside_index_notation():
    head = "fn ste(x) = sign(x) with gradient(dy) = dy"
    text = "input x[2, 3]\ninput w[3]\ny[n] = sum[d](w[d] * ste(x[n, d] * w[d]))\noutput y\noutput g = grad(y, x)"
    x, w = X - 2.2, np.array([1.0, -2.0, 3.0])
    found = run(text, head, x=x, w=w)
    assert np.allclose(found["y"], (np.sign(x * w) * w).sum(1))
    assert np.allclose(found["g"], np.broadcast_to(w * w, x.shape))


def test_a_gradient_for_several_elements():
    head = "fn f(a, b) {\nreturn a * b\n} with gradient(dy) {\nreturn 10 * dy * b, 100 * dy * a\n}"
    text = (
        "input x[2, 3]\ninput w[3]\ny[n] = sum[d](f(x[n, d], w[d]))\noutput y\n"
        "output g = grad(y, x)\noutput h = grad(y, w)"
    )
    w = np.array([1.0, -2.0, 3.0])
    found = run(text, head, x=X, w=w)
    assert np.allclose(found["y"], X @ w)
    assert np.allclose(found["g"], 10 * np.broadcast_to(w, X.shape))
    assert np.allclose(found["h"], 100 * X.sum(0))


def test_gradients_for_several_arguments():
    head = "fn product_of(a, b) {\nreturn a * b\n} with gradient(dy) {\nreturn 10 * dy * b, dy\n}"
    found = run(
        "input a[2]\ninput b[2]\ny = product_of(a, b)\noutput p = grad(y, a)\noutput q = grad(y, b)",
        head,
        a=np.ones(2),
        b=np.full(2, 3.0),
    )
    assert found["p"].tolist() == [30, 30] and found["q"].tolist() == [1, 1]


def test_recursion_is_refused_with_its_cycle():
    found = problem(body("output y = f(3)", "fn f(n) = g(n - 1)\nfn g(n) = f(n) if n > 0 else 0"))
    assert "f -> g -> f" in found.message or "g -> f -> g" in found.message


def test_recursion_of_what_is_never_called_is_refused():
    assert "f -> f" in problem(body("input x[N]\noutput x", "fn f(n) = f(n)")).message


def test_a_layer_given_to_itself_is_no_cycle():
    head = "layer residual(body)(x) {\ny = x -> body\nreturn x + y\n}"
    found = run("input x[2]\noutput y = x -> residual(residual(relu))", head, x=np.array([1.0, -1.0]))
    assert found["y"].tolist() == [3, -2]


# ---------------------------------------------------------------- layers


def test_settings_have_defaults_that_read_earlier_settings():
    head = "layer f(a, b = 2 * a)(x) { return x * a + b }"
    assert value("x -> f(3)", head, x=np.ones(1)) == 9
    assert value("x -> f(3, 1)", head, x=np.ones(1)) == 4
    assert value("x -> f(b = 1, a = 2)", head, x=np.ones(1)) == 3


def test_wrong_settings():
    head = "layer f(a, b = 2)(x) { return x }"
    assert problem(body("input x[N]\noutput y = x -> f", head)).code == "DG233"
    assert problem(body("input x[N]\noutput y = x -> f(1, 2, 3)", head)).code == "DG231"
    assert problem(body("input x[N]\noutput y = x -> f(1, bb = 3)", head)).help == "did you mean `b`?"


def test_signatures_bind_sizes():
    head = "layer f()(x[N, C, ...]) { return x * C }\nlayer g()(x[..., D]) { return x * D }"
    x = np.ones((2, 3, 4))
    assert value("x -> f", head, x=x).max() == 3
    assert value("x -> g", head, x=x).max() == 4


def test_signatures_are_checked():
    head = "layer f(D)(x[N, D], h[N, D]) { return x + h }"
    found = problem(body("input x[N, 3]\ninput h[N, 4]\noutput y = (x, h) -> f(3)", head))
    assert found.code == "DG523" and "4" in found.message and len(found.notes) >= 2
    found = problem(body("input x[N, 3]\noutput y = x -> f(3)", head))
    assert found.code == "DG521"
    found = problem(body("input x[N, 3, 2]\ninput h[N, 3]\noutput y = (x, h) -> f(3)", head))
    assert found.code == "DG522" and found.help


def test_tensor_arguments_may_have_defaults():
    head = "layer f()(x, mask = true) { return where(mask, x, 0) }"
    assert value("x -> f", head, x=X).tolist() == X.tolist()
    assert run("input x[2, 3]\noutput y = (x, x > 2) -> f", head, x=X)["y"].sum() == 12


def test_a_layer_may_return_several_tensors():
    found = run("input x[2]\na, b = x -> f\noutput y = a - b", "layer f()(x) {\nreturn x * 2, x\n}", x=np.ones(2))
    assert found["y"].tolist() == [1, 1]


def test_a_layer_that_returns_nothing():
    assert problem(body("input x[N]\noutput y = x -> f", "layer f()(x) {\ny = x\n}")).code == "DG501"


def test_asserts_show_their_message_and_the_chain_of_layers():
    head = (
        'layer f(n)(x) {\nassert n < 3, "f: {n} of {x.shape} is too much"\nreturn x\n}\n'
        "layer g()(x) { return x -> f(5) as inner }"
    )
    found = problem(body("input x[N, 4]\noutput y = x -> g as outer", head))
    assert found.message == "f: 5 of [N, 4] is too much"
    assert [n.message for n in found.notes] == [
        "this is [N, 4]",
        "in f, applied at <text>:5 as outer.inner",
        "in g, applied at <text>:8 as outer",
    ]


def test_an_assert_on_values_becomes_a_check():
    made = network(body('input x[N]\nassert x > 0, "x is not positive"\noutput y = log(x)'))
    assert [c.message for c in made.program.checks] == ["x is not positive"]
    assert values_of(made, x=np.ones(2))["y"].tolist() == [0, 0]
    with pytest.raises(Exception, match="x is not positive"):
        values_of(made, x=np.array([1.0, -1.0]))


def test_a_condition_on_values_is_an_error_with_its_repair():
    found = problem(body("input x[N]\nif x > 0 { y = 1 }\noutput y = x"))
    assert found.code == "DG508" and "where" in found.help


# ---------------------------------------------------------------- parameters


def test_a_parameter_without_its_condition_is_a_constant():
    head = "layer f(bias = true)(x) {\nparam b[3] = 5 if bias\nparam w[3] ~ normal(0, 1) if bias\nreturn x + b + w\n}"
    made = network(body("input x[N, 3]\noutput y = x -> f(bias = false)", head))
    assert paths(made) == []
    assert values_of(made, x=np.zeros((1, 3)))["y"].tolist() == [[5, 5, 5]]


def test_initial_values():
    text = (
        "param a[2, 2] = [[1, 2], [3, 4]]\nparam b = 5\nparam c[3] = 2 * k\n"
        "param d[2] = [k, 1 / 3]\nparam e[2, 3] = eye(3)[:2, :]\noutput y = a"
    )
    found = initial(network(body(text, "k = 7")))
    assert found["a"].tolist() == [[1, 2], [3, 4]]
    assert found["b"] == 5 and found["b"].dtype == np.float64
    assert found["c"].tolist() == [14, 14, 14]
    assert np.allclose(found["d"], [7, 1 / 3])
    assert found["e"].tolist() == [[1, 0, 0], [0, 1, 0]]


def test_a_shape_is_spliced_from_lists():
    made = network(body("input x[N, 2, 3]\nparam w[5, x.shape[1:], 4] = 0\noutput y = w"))
    assert made.parameters[0].tensor.shape == (5, 2, 3, 4)


def test_initial_draws_are_functions_of_seed_and_path():
    made = network(body("param a[4] ~ normal(0, 1)\nparam b[4] ~ normal(0, 1)\noutput y = a + b"))
    assert initial(made, 0)["a"].tolist() == initial(made, 0)["a"].tolist()
    assert initial(made, 0)["a"].tolist() != initial(made, 1)["a"].tolist()
    assert initial(made, 0)["a"].tolist() != initial(made, 0)["b"].tolist()


def test_an_initial_value_of_another_shape():
    assert problem(body("param a[3] = [1, 2]\noutput y = a")).code == "DG504"


def test_an_initial_value_cannot_depend_on_inputs():
    assert problem(body("input x[3]\nparam a[3] = x\noutput y = a + x")).code == "DG540"


def test_an_initial_value_may_be_that_of_another_parameter():
    found = initial(network(body("param a[3] ~ normal(0, 1)\nparam b[3] = 2 * a\noutput y = b")))
    assert np.allclose(found["b"], 2 * found["a"])


def test_a_parameter_of_the_size_of_the_batch():
    found = problem(body("input x[N, D]\nparam w[N, 2] = 0\noutput y = x"))
    assert found.code == "DG505" and "[N, 2]" in found.message


def test_a_parameter_may_depend_on_a_size_that_each_compilation_fixes():
    text = body("input x[N, D]\noutput y = x -> linear(2)")
    assert str(network(text).parameters[0].tensor.shape) == "(2, D)"
    assert network(text, sizes={"D": 5}).parameters[0].tensor.shape == (2, 5)


@pytest.mark.parametrize("text", [
    "if training { param w[3] = 0\nx = x + w }",
    "if not training { return x }\nparam w[3] = 0\nx = x + w",
    "flag = training\nif flag { param w[3] = 0\nx = x + w }",
    "if training { x = x -> linear(3) }",
])  # fmt: skip
def test_a_parameter_under_a_condition_on_training(text):
    found = problem(body("input x[N, 3]\noutput y = x -> f", f"layer f()(x) {{\n{text}\nreturn x\n}}"))
    assert found.code == "DG518"


def test_lists_are_read_along_several_axes():
    text = """points = [[1, 2], [3, 4], [5, 6]]
    net n {
        input x[N, 2]
        assert points[:, 0] == [1, 3, 5] and points[1:, 1] == [4, 6] and points[2, 1] == 6
        both = [x, 2 * x]
        output y = both[1, :, 0]
    }"""
    assert values_of(network(text), x=np.array([[1.0, 2], [3, 4]]))["y"].tolist() == [2, 6]


def test_several_values_are_no_tensor():
    loop = "p = scan t in 0..3 from a = x, b = x { next a = b }"
    assert "unpack them" in problem(body(f"input x[N, 3]; {loop}; output y = mean(p)")).help
    assert "unpack them" in problem(body(f"input x[N, 3]; {loop}; output y = p[:, 0]")).help
