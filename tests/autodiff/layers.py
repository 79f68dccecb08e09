"""The formulas of the usual layers, each with its PyTorch counterpart."""

from __future__ import annotations

import numpy as np
from checks import Case

_random = np.random.default_rng(0)


def normal(*shape):
    return _random.standard_normal(shape)


def linear():
    case = Case({"x": normal(4, 5), "w": normal(3, 5), "b": normal(3)}, "xwb")
    y = case.let("y[n, u] = sum[d](w[u, d] * x[n, d])")
    y = case.let("z[n, u] = y[n, u] + b[u]")
    return case, y, lambda F, x, w, b: F.linear(x, w, b)


def convolution(stride, pad, dilation, kernel, size=9):
    def make():
        out = (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        case = Case({"x": normal(2, 3, size, size), "w": normal(4, 3, kernel, kernel)}, "xw")
        at = f"i*{stride} + p*{dilation} - {pad}, j*{stride} + q*{dilation} - {pad}"
        y = case.let(f"y[n, o, i, j] = sum[c, p, q](w[o, c, p, q] * (x[n, c, {at}] or 0))", i=out, j=out)
        return case, y, lambda F, x, w: F.conv2d(x, w, stride=stride, padding=pad, dilation=dilation)

    return make


def grouped_convolution():
    case = Case({"x": normal(2, 6, 7, 7), "w": normal(9, 2, 3, 3)}, "xw")
    body = "w[g*3 + o, c, p, q] * (x[n, g*2 + c, i*2 + p - 1, j*2 + q - 1] or 0)"
    case.let(f"z[n, g, o, i, j] = sum[c, p, q]({body})", g=3, o=3, i=4, j=4)
    y = case.let("y[n, f, i, j] = z[n, f // 3, f % 3, i, j]", f=9)
    return case, y, lambda F, x, w: F.conv2d(x, w, stride=2, padding=1, groups=3)


def transposed_convolution():
    case = Case({"x": normal(2, 3, 5, 5), "w": normal(3, 4, 3, 3)}, "xw")
    read = "(x[n, c, (h + 1 - p) // 2, (k + 1 - q) // 2] or 0)"
    guard = "(h + 1 - p) % 2 == 0 and (k + 1 - q) % 2 == 0"
    y = case.let(f"y[n, o, h, k] = sum[c, p, q]({read} * w[c, o, p, q] if {guard} else 0)", h=9, k=9)
    return case, y, lambda F, x, w: F.conv_transpose2d(x, w, stride=2, padding=1)


def maxpool_with_ties():
    case = Case({"x": np.round(normal(2, 3, 8, 8))}, "x")
    y = case.let("y[n, c, i, j] = max[p, q]((x[n, c, i*2 + p - 1, j*2 + q - 1] or -inf))", i=4, j=4, p=3, q=3)
    return case, y, lambda F, x: F.max_pool2d(x, 3, 2, 1)


def avgpool():
    case = Case({"x": normal(2, 3, 8, 8)}, "x")
    case.let("s[n, c, i, j] = sum[p, q]((x[n, c, i*2 + p - 1, j*2 + q - 1] or 0))", i=4, j=4, p=3, q=3)
    y = case.let("y[n, c, i, j] = s[n, c, i, j] / 9")
    return case, y, lambda F, x: F.avg_pool2d(x, 3, 2, 1)


def batchnorm():
    case = Case({"x": normal(3, 4, 5, 5), "w": normal(4), "b": normal(4)}, "xwb")
    case.let("mu[c] = mean[n, h, k](x[n, c, h, k])")
    case.let("var[c] = mean[n, h, k]((x[n, c, h, k] - mu[c])**2)")
    y = case.let("y[n, c, h, k] = (x[n, c, h, k] - mu[c]) / sqrt(var[c] + 1e-5) * w[c] + b[c]")
    return case, y, lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True)


def layernorm():
    case = Case({"x": normal(3, 6), "w": normal(6), "b": normal(6)}, "xwb")
    case.let("mu[n] = mean[d](x[n, d])")
    case.let("var[n] = mean[d]((x[n, d] - mu[n])**2)")
    y = case.let("y[n, d] = (x[n, d] - mu[n]) / sqrt(var[n] + 1e-5) * w[d] + b[d]")
    return case, y, lambda F, x, w, b: F.layer_norm(x, (6,), w, b)


def groupnorm():
    case = Case({"x": normal(2, 6, 4, 4), "w": normal(6), "b": normal(6)}, "xwb")
    case.let("mu[n, g] = mean[c, h, k](x[n, g*2 + c, h, k])", g=3, c=2)
    case.let("var[n, g] = mean[c, h, k]((x[n, g*2 + c, h, k] - mu[n, g])**2)", c=2)
    body = "(x[n, c, h, k] - mu[n, c // 2]) / sqrt(var[n, c // 2] + 1e-5) * w[c] + b[c]"
    y = case.let(f"y[n, c, h, k] = {body}")
    return case, y, lambda F, x, w, b: F.group_norm(x, 3, w, b)


def cross_entropy(largest):
    def make():
        case = Case({"x": normal(5, 7), "t": _random.integers(0, 7, 5)}, "x")
        case.let("m[n] = max[k](x[n, k])")
        case.let(f"z[n] = sum[k](exp(x[n, k] - {largest}))")
        y = case.let(f"y[n] = log(z[n]) + {largest} - x[n, t[n]]")
        return case, y, lambda F, x, t: F.cross_entropy(x, t, reduction="none")

    return make


def embedding():
    case = Case({"e": normal(11, 4), "t": _random.integers(0, 11, (3, 5))}, "e")
    y = case.let("y[n, s, d] = e[t[n, s], d]**2")
    return case, y, lambda F, e, t: F.embedding(t, e) ** 2


def product_with_zeros():
    x = normal(4, 5)
    x[1, 2] = x[2, 1] = x[2, 3] = 0
    case = Case({"x": x}, "x")
    y = case.let("y[n] = prod[d](x[n, d])")
    return case, y, lambda F, x: x.prod(1)


def maximum_of_a_body():
    case = Case({"x": normal(4, 5)}, "x")
    y = case.let("y[n] = max[d](x[n, d] * x[n, d])")
    return case, y, lambda F, x: (x * x).max(1).values


def minimum_over_two_axes():
    case = Case({"x": normal(4, 3, 5)}, "x")
    y = case.let("y[d] = min[n, e](x[n, e, d]**3)")
    return case, y, lambda F, x: (x**3).amin((0, 1))


def bilinear():
    case = Case({"x": normal(2, 3, 5, 5)}, "x")
    weights = "(1 - (2*i - 1) % 4 / 4 if i > 0 else 0)", "((2*i - 1) % 4 / 4 if i > 0 else 1)"
    low, high = "clamp((2*i - 1) // 4, 0, 4)", "clamp((2*i - 1) // 4 + 1, 0, 4)"
    case.let(f"u[n, c, i, h] = {weights[0]} * x[n, c, {low}, h] + {weights[1]} * x[n, c, {high}, h]", i=10)
    y = case.let(f"y[n, c, h, i] = {weights[0]} * u[n, c, h, {low}] + {weights[1]} * u[n, c, h, {high}]", i=10)
    return case, y, lambda F, x: F.interpolate(x, scale_factor=2, mode="bilinear")


def fourier_basis():
    case = Case({"x": normal(6), "a": normal(5)}, "xa")
    y = case.let("y[n] = sum[k](a[k] * sin((k + 1) * x[n]))")
    return case, y, lambda F, x, a: sum(a[k] * (x * (k + 1)).sin() for k in range(5))


def radial_basis():
    case = Case({"x": normal(6, 2), "c": normal(5, 2), "w": normal(5)}, "xcw")
    y = case.let("y[n, k] = exp(-sum[d]((x[n, d] - c[k, d])**2) * w[k]**2)")
    return case, y, lambda F, x, c, w: (-((x[:, None] - c) ** 2).sum(2) * w**2).exp()


def attention():
    case = Case({"q": normal(2, 3, 4, 5), "k": normal(2, 3, 6, 5), "v": normal(2, 3, 6, 5)}, "qkv")
    case.let("s[b, h, i, j] = sum[d](q[b, h, i, d] * k[b, h, j, d] * 0.4472135954999579)")
    case.let("m[b, h, i] = max[j](s[b, h, i, j])")
    case.let("e[b, h, i, j] = exp(s[b, h, i, j] - stop_gradient(m[b, h, i]))")
    case.let("z[b, h, i] = sum[j](e[b, h, i, j])")
    y = case.let("y[b, h, i, d] = sum[j](e[b, h, i, j] * v[b, h, j, d] / z[b, h, i])")
    return case, y, lambda F, q, k, v: F.softmax(q @ k.mT * 0.4472135954999579, -1) @ v


def flatten_and_linear():
    case = Case({"x": normal(3, 2, 4, 4), "w": normal(5, 32)}, "xw")
    flat = case.builder.reshape("flat", "x", (3, 32)).name
    y = case.let(f"y[n, u] = sum[f](w[u, f] * {flat}[n, f]**2)")
    return case, y, lambda F, x, w: x.flatten(1) ** 2 @ w.T


def dropout():
    case = Case({"x": normal(4, 5), "seed": np.int64(7)}, "x")
    y = case.let("y[n, d] = x[n, d]**2 * (1 if random(seed, 0, 3, n*5 + d) < 0.6 else 0)")
    (drawn,) = case.run(case.let("r[n, d] = random(seed, 0, 3, n*5 + d)", n=4, d=5))
    import torch

    return case, y, lambda F, x, seed: x**2 * torch.tensor(drawn < 0.6)


def guard_with_a_value():
    """What stands for a read outside is itself differentiated."""
    case = Case({"x": normal(5), "p": normal()}, "xp")
    y = case.let("y[i] = (x[i - 1] or p**2) * (x[i + 1] or p) * p", i=5)
    import torch

    def formula(F, x, p):
        return torch.cat([p[None] ** 2, x[:-1]]) * torch.cat([x[1:], p[None]]) * p

    return case, y, formula


def selected_logarithm():
    """`where` is exactly 0 on the side not taken, whatever stands there; both uses of the logarithm are guarded."""
    case = Case({"x": np.array([0.5, 0.0, 2.0, 0.0])}, "x")
    y = case.let("y[i] = (log(x[i]) if x[i] > 0 else 0) + (log(x[i])**2 if x[i] > 0 else 3)")
    import torch

    def formula(F, x):
        safe = torch.where(x > 0, x, 1.0).log()
        return torch.where(x > 0, safe + safe**2, 3.0)

    return case, y, formula


LAYERS = {
    "linear": linear,
    "convolution": convolution(1, 0, 1, 3),
    "convolution, stride 2, pad 1": convolution(2, 1, 1, 3),
    "convolution, stride 2, pad 2, dilation 2": convolution(2, 2, 2, 3),
    "convolution, stride 3, pad 1, dilation 2": convolution(3, 1, 2, 4),
    "convolution, 1x1, stride 2": convolution(2, 0, 1, 1),
    "grouped convolution": grouped_convolution,
    "transposed convolution": transposed_convolution,
    "maxpool with ties": maxpool_with_ties,
    "avgpool": avgpool,
    "batchnorm": batchnorm,
    "layernorm": layernorm,
    "groupnorm": groupnorm,
    "cross entropy": cross_entropy("m[n]"),
    "cross entropy, gradient stopped": cross_entropy("stop_gradient(m[n])"),
    "embedding": embedding,
    "product with zeros": product_with_zeros,
    "maximum of a body": maximum_of_a_body,
    "minimum over two axes": minimum_over_two_axes,
    "bilinear": bilinear,
    "fourier basis": fourier_basis,
    "radial basis": radial_basis,
    "attention": attention,
    "flatten and linear": flatten_and_linear,
    "dropout": dropout,
    "guard with a value": guard_with_a_value,
    "selected logarithm": selected_logarithm,
}
