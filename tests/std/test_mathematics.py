"""Mathematical functions, tensors rearranged, and attention of several heads, against PyTorch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

SMOOTH = [
    ("square(x)", torch.square),
    ("pow(x, 3)", lambda x: x**3),
    ("exp2(x)", torch.exp2),
    ("rsqrt(2 + x^2)", lambda x: torch.rsqrt(2 + x**2)),
    ("hypot(x, 1 + x)", lambda x: torch.hypot(x, 1 + x)),
    ("asinh(3 * x)", lambda x: torch.asinh(3 * x)),
    ("acosh(1.5 + x^2)", lambda x: torch.acosh(1.5 + x**2)),
    ("atanh(x / 9)", lambda x: torch.atanh(x / 9)),
    ("erfc(2 * x)", lambda x: torch.erfc(2 * x)),
    ("erfinv(x / 9)", lambda x: torch.erfinv(x / 9)),
    ("dot(x, x^2, axis = 1)", lambda x: (x * x**2).sum(1)),
    ("diagonal(x[:, :, :4] @ transpose(x[:, :, :4]))", lambda x: (x[:, :, :4] ** 2).sum(-1)),
    ("trace(x @ transpose(x))", lambda x: (x**2).sum((1, 2))),
]

REARRANGED = [
    ("cumsum(x)", lambda x: torch.cumsum(x, -1)),
    ("cumsum(x, axis = 1)", lambda x: torch.cumsum(x, 1)),
    ("cumprod(x, axis = 1)", lambda x: torch.cumprod(x, 1)),
    ("flip(x, axis = 1)", lambda x: torch.flip(x, [1])),
    ("roll(x, -2)", lambda x: torch.roll(x, -2, -1)),
    ("repeat(x, 2, axis = 1)", lambda x: torch.repeat_interleave(x, 2, 1)),
    ("tile(x, 2)", lambda x: torch.cat([x, x], -1)),
    ("squeeze(unsqueeze(x, 1)[:, :, 0:1], 2)", lambda x: x[:, None, 0]),
    ("diag(x)", torch.diag_embed),
    ("tril(x, 1)", lambda x: torch.tril(x, 1)),
    ("triu(x)", torch.triu),
    ("x * linspace(1, 3, 5)", lambda x: x * torch.linspace(1, 3, 5, dtype=x.dtype)),
    ("trunc(3 * x)", lambda x: torch.trunc(3 * x)),
]


@pytest.mark.parametrize("text, function", SMOOTH + REARRANGED, ids=[t for t, _ in SMOOTH + REARRANGED])
def test_values_and_derivatives(agrees, text, function):
    agrees(text, {"x": (2, 4, 5)}, lambda x, p: function(x), second=(text, function) in SMOOTH)


def test_gamma_functions(agrees):
    """On both sides of 1/2; PyTorch's own second derivative of lgamma on the negative side is that of its polygamma."""
    x = np.array([[0.07, 0.4, 0.6], [1.0, 2.0, 3.5], [17.0, 90.5, 1e4], [-0.3, -1.6, -7.45]])
    agrees("lgamma(x)", {"x": x}, lambda x, p: torch.lgamma(x), differences=False)
    agrees("digamma(x)", {"x": x}, lambda x, p: torch.digamma(x), second=False, differences=False)


def test_ends(agrees):
    """Where a naive formula cancels, overflows or has no derivative."""
    agrees("erfc(x)", {"x": np.array([[-9.0, 0.0, 5.0, 9.0]])}, lambda x, p: torch.erfc(x))
    agrees("asinh(x)", {"x": np.array([[-1e6, 0.0, 1e-9, 1e6]])}, lambda x, p: torch.asinh(x))
    agrees("where(is_finite(1 / x), x, 5)", {"x": np.array([[1.0, 0.0]])},
           lambda x, p: torch.where(x > 0, x, 5), second=False, differences=False)  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
def test_multihead_attention(agrees, bias):
    def reference(x, p):
        mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
        return torch.nn.functional.multi_head_attention_forward(
            *[x.transpose(0, 1)] * 3, 6, 3, p["in_proj_weight"], p.get("in_proj_bias"), None, None, False, 0.0,
            p["out_proj.weight"], p.get("out_proj.bias"), need_weights=False, attn_mask=mask,
        )[0].transpose(0, 1)  # fmt: skip

    text = f"(x, causal(5)) -> multihead_attention(3, bias = {str(bias).lower()}) as f"
    agrees(text, {"x": (2, 5, 6)}, reference, second=False)
