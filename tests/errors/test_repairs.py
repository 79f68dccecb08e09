"""Repairs that are computed work: the program that they make is right."""

from __future__ import annotations

import pytest

from diffgraph.inspect.check import check_text

HEAD = "net model {\n    input image[N, 16, 28, 28]\n    target label[N]: int < 10\n    target y[N, 1]\n"
RESIDUAL = "layer block(channels, stride = 1)(x[N, C, H, W]) { return x + (x -> conv(channels, 3, stride, pad = 1)) }\n"


@pytest.mark.parametrize(
    "statements, wrong, repaired",
    [
        ("output z = image + (image -> conv(16, 3))", "conv(16, 3)", "conv(16, 3, pad = 1)"),
        ("output z = image + (image -> conv(16, 5))", "conv(16, 5)", "conv(16, 5, pad = 2)"),
        ("output z = image + (image -> conv(8, 3, pad = 1))", "conv(8, 3, pad = 1)", "conv(16, 3, pad = 1)"),
        ("output z = concat(image, image -> maxpool(2), axis = 1)", "maxpool(2)", "maxpool(1)"),
        ("output z = image -> block(16, 2)", "block(16, 2)", "block(16, 1)"),
        ("loss cross_entropy(image -> linear(10), label)", "linear(10)", "flatten -> linear(10)"),
        ("loss mse(image -> flatten -> linear(2), y)", "linear(2)", "linear(1)"),
        ("output z = (image -> flatten -> linear(8)) @ zeros([9, 2])", "linear(8)", "linear(9)"),
    ],
)
def test_what_is_proposed_works(statements, wrong, repaired):
    text = f"{RESIDUAL}\n{HEAD}    {statements}\n}}\n"
    (problem,) = check_text(text, "model.net", None).problems
    assert problem.help is not None and f"`{repaired}`" in problem.help, problem.render()
    assert check_text(text.replace(wrong, repaired), "model.net", None).problems == ()


def test_the_result_is_told():
    text = f"{HEAD}    output z = image + (image -> conv(16, 3))\n}}\n"
    (problem,) = check_text(text, "model.net", None).problems
    assert problem.help == "`conv(16, 3, pad = 1)` gives [N, 16, 28, 28], which fits"


def test_a_window_is_told_the_least_padding():
    text = "net model {\n    input image[N, 3, 3, 3]\n    output y = image -> conv(8, 6)\n}\n"
    (problem,) = check_text(text, "model.net", None).problems
    assert problem.help == "pad = 2 makes it fit"
    assert check_text(text.replace("6)", "6, pad = 2)"), "model.net", None).problems == ()
    assert check_text(text.replace("6)", "6, pad = 1)"), "model.net", None).problems != ()


def test_nothing_is_proposed_that_does_not_work():
    text = "net model {\n    input a[N, 7, 5]\n    input b[N, 3, 2]\n    output z = a + b\n}\n"
    (problem,) = check_text(text, "model.net", None).problems
    assert problem.help is None
