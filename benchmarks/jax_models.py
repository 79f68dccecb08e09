"""The networks of the table in JAX: functions of a list of parameters, in the order of the `.net` texts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def laid_out(model: str, arrays: list[np.ndarray]) -> list[jax.Array]:
    """Parameters as the model wants them: kernels of convolutions with channels last."""
    return [jnp.asarray(a.transpose(2, 3, 1, 0) if a.ndim == 4 else a) for a in arrays]


def adam(weights, slopes, first, second, count, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=None):
    """A step of Adam, or of AdamW where there is a decay (0.01 being PyTorch's for that)."""
    decay = 0.0 if weight_decay is None else weight_decay
    first = [beta1 * m + (1 - beta1) * g for m, g in zip(first, slopes)]
    second = [beta2 * v + (1 - beta2) * g * g for v, g in zip(second, slopes)]
    a, b = 1 - beta1**count, 1 - beta2**count
    new = [w - lr * (m / a / (jnp.sqrt(v / b) + eps) + decay * w) for w, m, v in zip(weights, first, second)]
    return new, first, second, count


def mean_square(p, y):
    """The loss of regressions."""
    return jnp.mean((p - y) ** 2)


def cross_entropy(logits, label):
    """The loss of classifiers."""
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], 1))


def smoothed_cross_entropy(logits, label):
    """ViT's loss."""
    logs = jax.nn.log_softmax(logits)
    return -jnp.mean(0.9 * jnp.take_along_axis(logs, label[:, None], 1)[:, 0] + 0.1 * logs.mean(1))


def _linear(x, weight, bias):
    return x @ weight.T + bias


def small(p, x):
    """2-8-8-1."""
    return _linear(jnp.tanh(_linear(jnp.tanh(_linear(x, *p[0:2])), *p[2:4])), *p[4:6])


def wide(p, x):
    """784-...-10."""
    for k in range(0, len(p) - 2, 2):
        x = jax.nn.relu(_linear(x, *p[k : k + 2]))
    return _linear(x, *p[-2:])


def _conv(x, kernel, bias, pad):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), [(pad, pad)] * 2, dimension_numbers=numbers) + bias


def _halved(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))


def lenet(p, image):
    """LeNet-5."""
    x = _halved(jnp.tanh(_conv(image.transpose(0, 2, 3, 1), p[0], p[1], 2)))
    x = _halved(jnp.tanh(_conv(x, p[2], p[3], 0))).transpose(0, 3, 1, 2)
    x = jnp.tanh(_linear(x.reshape(len(x), -1), *p[4:6]))
    return _linear(jnp.tanh(_linear(x, *p[6:8])), *p[8:10])


def _layernorm(x, weight, bias):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * weight + bias


def vit(p, image, heads=4):
    """examples/vit.net."""
    kernel, bias, position, *rest = p
    patch, n = kernel.shape[0], len(image)
    side = image.shape[-1] // patch
    pieces = image.reshape(n, side, patch, side, patch).transpose(0, 1, 3, 2, 4).reshape(n, side * side, patch * patch)
    x = pieces @ kernel.reshape(patch * patch, -1) + bias + position
    t, d = x.shape[1:]
    for b in range(0, len(rest) - 4, 12):
        w = rest[b : b + 12]
        qkv = _linear(_layernorm(x, *w[0:2]), *w[2:4]).reshape(n, t, 3, heads, d // heads)
        q, k, v = (qkv[:, :, j] for j in range(3))
        weight = jax.nn.softmax(jnp.einsum("nihd,njhd->nhij", q, k) / np.sqrt(d // heads))
        x = x + _linear(jnp.einsum("nhij,njhd->nihd", weight, v).reshape(n, t, d), *w[4:6])
        y = jax.nn.gelu(_linear(_layernorm(x, *w[6:8]), *w[8:10]), approximate=False)
        x = x + _linear(y, *w[10:12])
    return _linear(_layernorm(x, *rest[-4:-2]).mean(1), *rest[-2:])


def rows(p, image):
    """examples/rows.net, with the products of the inputs made for all steps at once and the gates' joined."""
    (zw, zb, zu, zc, rw, rb, ru, rc, cw, cb, cu, cc, hw, hb) = p
    units = len(zb)
    given = image[:, 0].transpose(1, 0, 2) @ jnp.concatenate((zw, rw, cw)).T
    given = given + jnp.concatenate((zb + zc, rb + rc, cb + cc))
    gates = jnp.concatenate((zu, ru)).T

    def step(h, now):
        z, r = jnp.split(jax.nn.sigmoid(now[:, : 2 * units] + h @ gates), 2, 1)
        candidate = jnp.tanh(now[:, 2 * units :] + (r * h) @ cu.T)
        return (1 - z) * h + z * candidate, None

    h, _ = jax.lax.scan(step, jnp.zeros((len(image), units), image.dtype), given)
    return _linear(h, hw, hb)


def recurrence(p, x):
    """A gated recurrent unit over the second axis, with the products of the inputs made for all steps at once."""
    weight_ih, weight_hh, bias_ih, bias_hh = p
    given = x.transpose(1, 0, 2) @ weight_ih.T + bias_ih

    def step(h, now):
        a_r, a_z, a_n = jnp.split(now, 3, 1)
        u_r, u_z, u_n = jnp.split(h @ weight_hh.T + bias_hh, 3, 1)
        z = jax.nn.sigmoid(a_z + u_z)
        return z * h + (1 - z) * jnp.tanh(a_n + jax.nn.sigmoid(a_r + u_r) * u_n), None

    return jax.lax.scan(step, jnp.zeros((len(x), weight_hh.shape[1]), x.dtype), given)[0]


def radial(p, x):
    """exp(-|x - center|^2 width^2) and a linear layer."""
    center, width, weight, bias = p
    distance = jnp.sum((x[:, None] - center) ** 2, 2)
    return _linear(jnp.exp(-distance * width**2), weight, bias)


def chain_forward(p, x):
    """Eight operations, element by element."""
    return jnp.tanh(jax.nn.relu(x * 0.9 + 0.1) * jax.nn.sigmoid(x) - x**2)


def chain(p, x, weight):
    """The chain under a weighted mean."""
    return jnp.mean(chain_forward(p, x) * weight)


def normalized(p, x, weight):
    """A layer norm under a weighted mean."""
    return jnp.mean(_layernorm(x, *p) * weight)


def classified(p, x, label):
    """Softmax and cross-entropy."""
    return cross_entropy(x, label)
