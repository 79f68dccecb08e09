"""Programs of the corpus against the same model written by hand in PyTorch: losses and every derivative, in float64."""

from pathlib import Path

import numpy as np
import pytest

from diffgraph.compiler import Net
from diffgraph.inspect.samples import sample_inputs, sample_sizes
from diffgraph.language.module import load_module

torch = pytest.importorskip("torch")
F = torch.nn.functional
PROGRAMS = Path(__file__).parent / "programs"


def linear(p, path, x):
    return x @ p[f"{path}.weight"].T + (p[f"{path}.bias"] if f"{path}.bias" in p else 0)


def layernorm(p, path, x):
    return F.layer_norm(x, x.shape[-1:], p[f"{path}.weight"], p[f"{path}.bias"])


def attention(p, path, q, kv, mask):
    (n, t, d), heads = q.shape, 2
    a, b, c = (linear(p, f"{path}.{k}", x).view(n, -1, heads, d // heads).transpose(1, 2)
               for k, x in (("query", q), ("key", kv), ("value", kv)))  # fmt: skip
    y = F.scaled_dot_product_attention(a, b, c, attn_mask=mask)
    return linear(p, f"{path}.out", y.transpose(1, 2).reshape(n, t, d))


def transformer(p, source, given, wanted):
    def positions(t, d):
        angle = torch.arange(t)[:, None] / 10000 ** (2 * (torch.arange(d) // 2) / d)
        return torch.where(torch.arange(d) % 2 == 0, angle.sin(), angle.cos())

    table, d = p["embedding1.weight"], 8
    mask = (source != 0)[:, None, None, :]
    m = table[source] * d**0.5 + positions(5, d)
    for i in range(2):
        at = f"encoder.{i}"
        m = layernorm(p, f"{at}.layernorm1", m + attention(p, f"{at}.attention", m, m, mask))
        inner = linear(p, f"{at}.feed_forward1.linear2", linear(p, f"{at}.feed_forward1.linear1", m).relu())
        m = layernorm(p, f"{at}.layernorm2", m + inner)
    y = table[given] * d**0.5 + positions(4, d)
    causal = torch.ones(4, 4, dtype=torch.bool).tril()
    for i in range(2):
        at = f"decoder.{i}"
        y = layernorm(p, f"{at}.layernorm1", y + attention(p, f"{at}.self", y, y, causal))
        y = layernorm(p, f"{at}.layernorm2", y + attention(p, f"{at}.cross", y, m, mask))
        inner = linear(p, f"{at}.feed_forward1.linear2", linear(p, f"{at}.feed_forward1.linear1", y).relu())
        y = layernorm(p, f"{at}.layernorm3", y + inner)
    return F.cross_entropy((y @ table.T).flatten(0, 1), wanted.flatten())


def seq2seq(p, source, given, wanted):
    def cell(path, x, h):
        weights = (p[f"{path}.{k}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        return torch.gru_cell(x, h, *weights)

    e, y = p["embedding1.weight"][source], p["embedding2.weight"][given]
    h, states = torch.zeros(len(source), 8), []
    for t in range(5):
        h = cell("gru_cell1", e[:, t], h)
        states.append(h)
    states, rows = torch.stack(states), []
    keys = linear(p, "linear1", states)
    for t in range(4):
        score = (torch.tanh(linear(p, "linear2", h) + keys) @ p["v"]).softmax(0)
        context = (score[..., None] * states).sum(0)
        h = cell("gru_cell2", torch.cat([y[:, t], context], 1), h)
        rows.append(linear(p, "linear3", h))
    return F.cross_entropy(torch.stack(rows, 1).flatten(0, 1), wanted.flatten())


def neural_ode(p, x, label):
    f = lambda h: linear(p, "field1.linear2", torch.tanh(linear(p, "field1.linear1", h)))  # noqa: E731
    dt = 1 / 8
    for _ in range(8):
        k1 = f(x)
        k2 = f(x + dt / 2 * k1)
        k3 = f(x + dt / 2 * k2)
        k4 = f(x + dt * k3)
        x = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return F.cross_entropy(linear(p, "linear1", x), label)


def realnvp(p, x):
    z, logdet = x, 0
    for i in range(4):
        at = f"coupling.{i}"
        a, b = (z[:, 2:], z[:, :2]) if i % 2 else (z[:, :2], z[:, 2:])
        h = torch.tanh(linear(p, f"{at}.linear1", a))
        s = torch.tanh(linear(p, f"{at}.linear2", h))
        b = b * s.exp() + linear(p, f"{at}.linear3", h)
        z, logdet = torch.cat([b, a] if i % 2 else [a, b], 1), logdet + s.sum(1)
    base = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    return -(base + logdet).mean()


def hmm(p, seen):
    a, b, c = (p[k].log_softmax(-1) for k in ("start", "move", "emit"))
    f = a + c[:, seen[:, 0]].T
    for t in range(1, seen.shape[1]):
        f = (f[:, :, None] + b).logsumexp(1) + c[:, seen[:, t]].T
    return -f.logsumexp(1).mean()


def ctc_like(p, x, label):
    logp = linear(p, "linear1", x).log_softmax(-1).transpose(0, 1)
    lengths = torch.full((len(x),), 6), torch.full((len(x),), 2)
    return F.ctc_loss(logp, label, *lengths, blank=3, reduction="none").mean()


def capsule(p, image, label):
    squash = lambda s: (n := (s**2).sum(-1, keepdim=True)) / (1 + n) * s / (n + 1e-9).sqrt()  # noqa: E731
    u = squash(F.conv2d(image, p["conv1.weight"], p["conv1.bias"], 2).relu().reshape(len(image), -1, 4))
    guess = torch.einsum("oikd,nid->noik", p["capsules1.weight"], u)
    logits = torch.zeros(guess.shape[:3])
    for r in range(3):
        v = squash(torch.einsum("noi,noik->nok", logits.softmax(1), guess))
        logits = logits + torch.einsum("noik,nok->noi", guess, v)
    length, t = v.norm(dim=-1), F.one_hot(label, 3)
    return (t * (0.9 - length).relu() ** 2 + 0.5 * (1 - t) * (length - 0.1).relu() ** 2).sum(1).mean()


def wavenet(p, x, y):
    def causal(path, h, dilation=1):
        return F.conv1d(F.pad(h, (dilation, 0)), p[f"{path}.weight"], p[f"{path}.bias"], dilation=dilation)

    h, skip = causal("causal_conv1", x), 0
    for i in range(3):
        at = f"layer.{i}"
        gate = torch.sigmoid(causal(f"{at}.causal_conv2", h, 2**i))
        z = torch.tanh(causal(f"{at}.causal_conv1", h, 2**i)) * gate
        h = h + F.conv1d(z, p[f"{at}.conv1.weight"], p[f"{at}.conv1.bias"])
        skip = skip + F.conv1d(z, p[f"{at}.conv2.weight"], p[f"{at}.conv2.bias"])
    o = F.conv1d(skip.relu(), p["conv1.weight"], p["conv1.bias"])
    return F.cross_entropy(F.conv1d(o.relu(), p["conv2.weight"], p["conv2.bias"]), y)


def fno(p, a, u):
    conv = lambda path, x: F.conv1d(x, p[f"{path}.weight"], p[f"{path}.bias"])  # noqa: E731
    x = conv("conv1", a)
    for i in (1, 2):
        w = torch.complex(p[f"spectral_conv{i}.real"], p[f"spectral_conv{i}.imag"])
        spectrum = torch.einsum("nck,ock->nok", torch.fft.rfft(x)[..., : w.shape[2]], w)
        x = F.gelu(torch.fft.irfft(spectrum, n=x.shape[2]) + conv(f"conv{i + 1}", x))
    return F.mse_loss(conv("conv4", x), u)


def message_passing(p, x, source, sink, y):
    rows = torch.arange(len(x))[:, None]
    for i in (1, 2):
        h = linear(p, f"gat{i}.linear1", x)
        a = p[f"gat{i}.a"]
        score = F.leaky_relu(h[rows, source] @ a[0] + h[rows, sink] @ a[1], 0.2)
        hit = F.one_hot(sink, 5).bool()
        weight = torch.where(hit, score[..., None], -torch.inf).softmax(1).nan_to_num()
        x = torch.einsum("nev,ned->nvd", weight, h[rows, source])
        x = F.elu(x) if i == 1 else x
    return ((linear(p, "linear1", x.mean(1))[:, 0] - y) ** 2).mean()


def deformable(p, x, y):
    offset = F.conv2d(x, p["deformable1.offset.weight"], p["deformable1.offset.bias"], padding=1)
    o = offset.view(len(x), 3, 3, 2, 5, 5)
    line = torch.arange(5.0)
    tap = torch.arange(3.0) - 1
    i = line[:, None] + tap[:, None, None, None] + o[:, :, :, 0]
    j = line + tap[:, None, None] + o[:, :, :, 1]
    grid = torch.stack([j / 2 - 1, i / 2 - 1], -1).view(len(x), -1, 5, 2)
    read = F.grid_sample(x, grid, align_corners=True).view(len(x), 2, 3, 3, 5, 5)
    return F.mse_loss(torch.einsum("qcab,ncabij->nqij", p["deformable1.weight"], read), y)


def moe(p, x, y):
    value, chosen = linear(p, "experts1.linear1", x).topk(2)
    made = torch.einsum("kud,nd->nku", p["experts1.weight"], x)
    picked = made.gather(1, chosen[..., None].expand(-1, -1, 3))
    h = (value.softmax(-1)[..., None] * picked).sum(1)
    return F.mse_loss(linear(p, "linear1", torch.tanh(h)), y)


def maml(p, x, y, x2, y2):
    w1, b1, w2 = p["w1"], p["b1"], p["w2"]
    task = ((torch.tanh(x @ w1.T + b1) @ w2.T - y) ** 2).mean()
    d1, e1, d2 = torch.autograd.grad(task, (w1, b1, w2), create_graph=True)
    after = torch.tanh(x2 @ (w1 - 0.1 * d1).T + b1 - 0.1 * e1) @ (w2 - 0.1 * d2).T
    return F.mse_loss(after, y2)


def score_matching(p, x):
    x = x if x.requires_grad else x.clone().requires_grad_()
    energy = linear(p, "linear2", F.softplus(linear(p, "linear1", x)))
    score = -torch.autograd.grad(energy.sum(), x, create_graph=True)[0]
    trace = sum(torch.autograd.grad(score[:, d].sum(), x, create_graph=True)[0][:, d] for d in range(2))
    return (trace + (score**2).sum(1) / 2).mean()


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0).double()

    @staticmethod
    def backward(ctx, dy):
        return dy / (1 + 10 * ctx.saved_tensors[0].abs()) ** 2


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, dy):
        return dy.clamp(-0.01, 0.01)


def own_gradient_in_scan(p, x, label):
    v = c = torch.zeros(len(x), 4)
    for t in range(6):
        u = 0.9 * v + linear(p, "linear1", x[:, t])
        s = _Spike.apply(u - 0.5)
        v, c = _Clipped.apply(u * (1 - s)), c + s
    return F.cross_entropy(linear(p, "linear2", c), label)


def sinkhorn(p, x, y):
    cost = ((x[:, None] - y) ** 2).sum(-1)
    k, u, v = (-cost / 0.3).exp(), torch.ones(5) / 5, torch.ones(4) / 4
    for _ in range(30):
        u = 1 / 5 / (k @ v)
        v = 1 / 4 / (k.T @ u)
    return (u[:, None] * k * v * cost).sum()


def soft_dtw(p, x, y):
    d = {(-1, -1): torch.tensor(0.0)}
    big = torch.tensor(1e4)
    for i in range(5):
        for j in range(4):
            three = torch.stack([d.get(k, big) for k in ((i, j - 1), (i - 1, j), (i - 1, j - 1))])
            d[i, j] = (x[i] - y[j]) ** 2 - 0.5 * torch.logsumexp(-three / 0.5, 0)
    return d[4, 3]


def linear_attention(p, x, y):
    q, k, v = F.elu(linear(p, "linear1", x)) + 1, F.elu(linear(p, "linear2", x)) + 1, linear(p, "linear3", x)
    weight = (q @ k.transpose(1, 2)).tril()
    return F.mse_loss(weight @ v / (weight.sum(-1, keepdim=True) + 1e-6), y)


def mask_rnn(p, x, length, y):
    weights = [p[f"gru_cell1.{k}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    h = torch.zeros(len(x), 3)
    for t in range(6):
        h = torch.where((t < length)[:, None], torch.gru_cell(x[:, t], h, *weights), h)
    return F.mse_loss(linear(p, "linear1", h)[:, 0], y)


def ppo(p, state_, action, old_logp, advantage, returns):
    h = torch.tanh(linear(p, "linear1", state_))
    policy = torch.distributions.Normal(linear(p, "linear2", h), p["logstd"].exp())
    ratio = (policy.log_prob(action).sum(1) - old_logp).exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    value = linear(p, "linear3", h)[:, 0]
    return -gain.mean() + 0.5 * ((value - returns) ** 2).mean() - 0.01 * p["logstd"].sum()


ORACLES = [
    transformer, seq2seq, neural_ode, realnvp, hmm, ctc_like, capsule, wavenet, fno, message_passing, deformable, moe,
    maml, score_matching, own_gradient_in_scan, sinkhorn, soft_dtw, linear_attention, mask_rnn, ppo,
]  # fmt: skip


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda f: f.__name__)
def test_agrees_with_pytorch(oracle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "_default", torch.get_default_dtype(), raising=False)
    torch.set_default_dtype(torch.float64)
    try:
        _compare(oracle)
    finally:
        torch.set_default_dtype(torch._default)


def _compare(oracle):
    net = Net(load_module(PROGRAMS / f"{oracle.__name__}.net"), target="reference", precision="f64")
    net.set_sizes({k: v for k, v in sample_sizes(net.network()).items() if k != net.network().batch})
    network = net.network(True)
    generator = np.random.default_rng(2)
    for array in net.storage.values():  # biases that are not all 0
        array[...] += 0.1 * generator.standard_normal(array.shape)
    inputs = sample_inputs(network, batch=3, seed=4)
    by = [*net.parameters, *(p.name for p in network.inputs if p.tensor.kind == "float")]
    loss, gradients = net.gradients(wrt=by, training=True, **inputs)
    given = {k: torch.tensor(v, requires_grad=v.dtype.kind == "f") for k, v in inputs.items()}
    parameters = {k: torch.tensor(v, requires_grad=True) for k, v in net.parameters.items()}
    expected = oracle(parameters, **given)
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-9)
    wanted = torch.autograd.grad(expected, [(parameters | given)[k] for k in by], allow_unused=True)
    for path, gradient in zip(by, wanted):
        gradient = np.zeros_like(gradients[path]) if gradient is None else gradient.numpy()
        scale = max(1e-3, float(np.max(np.abs(gradient), initial=0)))
        np.testing.assert_allclose(gradients[path], gradient, rtol=1e-7, atol=1e-9 * scale, err_msg=path)
