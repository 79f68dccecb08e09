"""Every kind of form, as kernels, against the interpreter: bodies, reductions, places read and written, kinds."""

import pytest
from agreement import check, program_of

CASES = {
    "pointwise": """
        input x[N, 3, 5]
        param b[3] = 0
        y[n, c, i] = tanh(x[n, c, i] + b[c]) * i + 1 / (2 + x[n, c, 4 - i]^2)
        z = where(y > 0, exp(-y), y^3)
        output y
        output z""",
    "matrix product": """
        input x[N, 37]
        param w[29, 37] = 0
        param b[29] = 0
        y[n, u] = sum[d](w[u, d] * x[n, d]) + b[u]
        z[n, d] = sum[u](w[u, d] * y[n, u])
        g[u, d] = sum[n](y[n, u] * x[n, d])
        output y
        output z
        output g""",
    "every sample with every other": """
        input x[N, 40]
        p[i, j] = sum[d](x[i, d] * x[j, d])
        q = softmax(p) @ x
        output p
        output q""",
    "products added": """
        input x[N, 40]
        input h[N, 24]
        param w[48, 40] = 0
        param u[48, 24] = 0
        y[n, k] = sum[d](w[k, d] * x[n, d]) + sum[d](u[k, d] * h[n, d])
        output y""",
    "batched product, transposed": """
        input x[N, 2, 17, 12]
        input y[N, 2, 12, 33]
        p[n, h, j, i] = sum[k](x[n, h, i, k] * y[n, h, k, j])
        output p""",
    "convolutions": """
        input x[N, 4, 13, 18]
        a = x -> conv(6, 3, pad = 1)
        b = x -> conv(8, 3, stride = 2, pad = 1, groups = 2)
        c = x -> conv(5, 3, dilation = 2)
        d = x -> conv(20, 1, bias = false) -> relu
        output a
        output b
        output c
        output d""",
    "guards": """
        input x[N, 19]
        param w[3] = 0
        y[n, i < 19] = sum[p]((x[n, i + p - 1] else 0.5) * w[p])
        z[n, i < 23] = max[p < 4]((x[n, i - p] else -inf))
        output y
        output z""",
    "pooling": """
        input x[N, 3, 12, 20]
        output a = x -> maxpool(2)
        output b = x -> maxpool(3, stride = 2, pad = 1)
        output c = x -> avgpool(2)
        output d = x -> global_avgpool""",
    "totals": """
        input x[96000]
        input z[N, 3]
        a[] = sum[i](x[i]^2)
        b[] = max[i](x[i])
        c[k] = sum[n](z[n, k])
        output a
        output b
        output c
    """,
    "a single unit": """
        input x[N, 8]
        input w[1, 8]
        input t[N, 1]
        h[n, k < 1] = sum[d](w[k, d] * x[n, d])
        g[n, k < 1] = 2 * (h[n, 0] - t[n, 0])
        e[n, d] = (1 - x[n, d]^2) * g[n, 0] * w[0, d]
        output h
        output g
        output e
    """,
    "a window around a single element": """
        input x[N, 1]
        param w[3] = 0
        h[n, i < 1] = 3 * x[n, i]
        y[n, i < 1] = sum[p](w[p] * (h[n, i + 2 * p - 2] else 0.5))
        output y
    """,
    "softmax and norms": """
        input x[N, 33]
        output a = softmax(x)
        output b = log_softmax(x)
        output c = x -> layernorm
        m[i] = mean[n](x[n, i])
        v[i] = mean[n]((x[n, i] - m[i])^2)
        output m
        output v""",
    "boxes": """
        input x[N, 6, 9]
        input y[N, 4, 9]
        a = concat(x, 2 * y, x[:, 1:3, :] * y[:, 2:, :], axis = 1)
        b[n, k < 14, i] = sum[j](x[n, j, i] if k == j + 3 else 0) + sum[j](y[n, j, i] if k == j + 5 else 0)
        c[n, i < 5, j] = sum[k](x[n, k, j] if i == k - 2 else 0)
        d = stack(x[:, 0], y[:, 1], tanh(x[:, 2]), axis = 1)
        e = concat(x[0, 0], y[0, 1])
        output a
        output b
        output c
        output d
        output e""",
    "reductions": """
        input x[N, 9, 21]
        a[n] = max[i, j](x[n, i, j])
        b[n, i] = min[j](x[n, i, j])
        c[j] = prod[n, i](1 + x[n, i, j] / 50)
        d[n] = any[i, j](x[n, i, j] > 2.2)
        e[n] = all[i, j](x[n, i, j] < 2.2)
        f[n, j] = argmax[i](x[n, i, j])
        g[n] = argmin[i, j](x[n, i, j])
        h = sum[n, i, j](x[n, i, j])
        output a
        output b
        output c
        output d
        output e
        output f
        output g
        output h""",
    "gather and scatter": """
        input token[N, 6]: int < 11
        input dy[N, 6, 20]
        param table[11, 20] = 0
        e[n, s, d] = table[token[n, s], d]
        g[v < 11, d] = sum[n, s](dy[n, s, d] if token[n, s] == v else 0)
        count[v < 11] = sum[n, s](1 if token[n, s] == v else 0)
        output e
        output g
        output count""",
    "writes through windows": """
        input dy[N, 4, 7]
        param w[4, 3] = 0
        dx[n, c, h < 15] = sum[i, p](w[c, p] * dy[n, c, i] if h == 2*i + p else 0)
        up[n, c, h < 14] = sum[i, p < 2](dy[n, c, i] if h == 2*i + p else 0)
        output dx
        output up""",
    "concatenation and slices": """
        input x[N, 4, 6]
        input y[N, 3, 6]
        a = concat(x, y, axis = 1)
        b = stack(x[:, 0], y[:, 1], axis = 1)
        c = pad(x, 1)
        output a
        output b
        output d = x[:, 1:-1]
        output e = transpose(x, 1, 2)""",
    "ints": """
        input k[N, 5]: int < 50
        a = k * 3 - 70
        b = a // 7
        c = a % 7
        d = -a // 7
        e = max(a, k) + min(a, k) * 2
        f = a^3
        g = float(a) / 3
        h = int(g)
        i = abs(a) + sign(a)
        output a
        output b
        output c
        output d
        output e
        output f
        output g
        output h
        output i""",
    "bools": """
        input p[N, 4]: bool
        input x[N, 4]
        q = p and x > 0 or not p and x < -1
        r = where(q, 1, 0) + 2 * p
        s = sum[n, i](q[n, i])
        output q
        output r
        output s""",
    "sorting": """
        input x[N, 23]
        a = argsort(x)
        b = sort(x, descending = true)
        output a
        output b""",
    "views": """
        input x[N, 4, 6]
        a = reshape(x, [N, 24])
        b = tanh(a)
        c = reshape(b, [N, 2, 12]) * 2
        d = reshape(x, [-1])
        output a
        output c
        output d""",
    "sizes as values": """
        input x[N, 7]
        y = x / x.size + x.shape[0]
        output y
        output z = mean(x)""",
}


@pytest.mark.parametrize("optimized", [False, True], ids=["as written", "optimized"])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_interpreter(name, optimized, rng):
    check(program_of(CASES[name]), 5, rng, "f64", optimized)


@pytest.mark.parametrize("name", ["matrix product", "convolutions", "softmax and norms", "pooling", "pointwise", "reductions"])
def test_agrees_in_float32(name, rng):
    check(program_of(CASES[name]), 6, rng, "f32")


@pytest.mark.parametrize("batch", [1, 2, 7, 64, 65])
def test_any_batch_size(batch, rng):
    check(program_of(CASES["matrix product"]), batch, rng, "f64")
