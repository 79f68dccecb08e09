"""What makes no sense is refused with the numbers in it, at the layer that was asked for it."""

import pytest

from diffgraph.diagnostics import DiffgraphError
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text

IMAGE, ROW = "x[N, 3, 8, 8]", "x[N, 3]"


def refusal(text: str, port: str) -> str:
    """The error of a formula of the input x and the target y."""
    y = "target y[N]: int < 3" if port == ROW else ""
    with pytest.raises(DiffgraphError) as caught:
        elaborate(load_text(f"net n {{\n    input {port}\n    {y}\n    output z = {text}\n}}"), training=True)
    assert len(caught.value.diagnostics) == 1, "one mistake is one problem"
    return str(caught.value)


@pytest.mark.parametrize("text, port, message", [
    ("x -> conv(4, 9)", IMAGE, "a window of 9 does not fit into 8"),
    ("x -> conv(4, 3, groups = 2)", IMAGE, "2 groups do not divide the 3 channels"),
    ("x -> conv(4, 3, groups = 3)", IMAGE, "3 groups do not divide 4 channels"),
    ("x -> conv(4, 3)", ROW, "this is [N, 3]"),
    ("x -> conv(4, [3, 3, 3])", IMAGE, "3 numbers are given where 2 are wanted"),
    ("x -> conv(4, 3, 2, pad = \"same\")", IMAGE, "a stride of 1"),
    ("x -> conv(4, 3, pad = \"full\")", IMAGE, "the pad of a window is a number"),
    ("x -> conv_transpose(4, 3, groups = 2)", IMAGE, "2 groups do not divide the 3 channels"),
    ("x -> maxpool(2, pad = 2)", IMAGE, "a pad of 2 is more than half the window of 2"),
    ("x -> avgpool(3, pad = 2)", IMAGE, "a pad of 2 is more than half the window of 3"),
    ("x -> upsample(1.5)", IMAGE, "the scale is an int, not 1.5"),
    ("x -> upsample(2, \"cubic\")", IMAGE, "not \"cubic\""),
    ("x -> groupnorm(2)", IMAGE, "2 groups do not divide 3 channels"),
    ("x -> dropout(1.5)", IMAGE, "not 1.5"),
    ("x -> gelu(approximate = \"erf\")", IMAGE, "not \"erf\""),
    ("x -> glu", ROW, "an axis of 3 has no halves"),
    ("mse(x, y)", ROW, "y has the shape [N], the prediction [N, 3]"),
    ("cross_entropy(x[:, 0:2], y)", ROW, "reads the places 0 to 2"),
    ("x -> embedding(5, 3)", ROW, "a place is an int"),
])  # fmt: skip
def test_refusal(text, port, message):
    found = refusal(text, port)
    assert message in found
    assert "<text>:4" in found, "it says where in the user's file"
