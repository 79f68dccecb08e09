"""Optimizers over ten steps, against PyTorch's."""

import numpy as np
import pytest

from diffgraph.ir.interpret import interpret
from diffgraph.language.blocks import train_block
from diffgraph.language.step import training_program
from diffgraph.language.module import load_text

torch = pytest.importorskip("torch")

STEPS = 10
START = {"a": np.array([[0.5, -1.2, 0.3], [2.0, -0.1, 0.8]]), "b": np.array([0.4, -0.7])}
X = np.random.default_rng(2).standard_normal((STEPS, 5, 3))
Y = np.random.default_rng(3).standard_normal((STEPS, 5, 2))

TEXT = """
net fit {{
    input  x[N, 3]
    target y[N, 2]
    param a[2, 3] = 0
    param b[2] = 0
    p[n, u] = tanh(sum[d](a[u, d] * x[n, d]) + b[u])
    output p
    loss   mean((p - y)^2)
}}
train fit {{ data table([[0, 0, 0, 0, 0]]); batch 5; steps {steps}; optimizer {optimizer}; {more} }}
"""


@pytest.fixture(autouse=True)
def double_precision():
    """PyTorch keeps some of its scalars (NAdam's product of mu) in the default precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def ours(optimizer: str, more: str = "") -> list[dict[str, np.ndarray]]:
    """The weights, states and averages after each step, by the interpreter."""
    module = load_text(TEXT.format(steps=STEPS, optimizer=optimizer, more=more))
    _, program = training_program(module, train_block(module))
    inputs = {i.path: i for i in program.inputs if i.table is None}
    paths = {i.tensor.name: i.path for i in program.inputs}
    kept = {path: np.asarray(START[path]) for path in START}
    history = []
    for step in range(STEPS):
        run = {"seed": 0, "step": step + 1, "total_steps": STEPS, "x": X[step], "y": Y[step]}
        values = {}
        for path, declared in inputs.items():
            value = kept.get(path, run.get(path))
            values[declared.tensor.name] = initial(optimizer, declared) if value is None else value
        results = interpret(program, values)
        kept |= {paths[c.state]: results[c.tensor] for c in program.commits}
        history.append(dict(kept))
    return history


def initial(optimizer: str, declared) -> np.ndarray:
    """Averages start at the weight, and the states of the optimizers here at 0, but for these."""
    if declared.path.endswith(".average"):
        return START[declared.path.removesuffix(".average")]
    value = 1.0 if "product_of_mu" in declared.path else 0.3 if "initial = 0.3" in optimizer else 0.0
    return np.full([s if isinstance(s, int) else 1 for s in declared.tensor.shape], value)


def by_torch(make) -> list[dict[str, np.ndarray]]:
    weights = {path: torch.tensor(v, requires_grad=True) for path, v in START.items()}
    optimizer = make(torch.optim, list(weights.values()))
    history = []
    for x, y in zip(torch.as_tensor(X), torch.as_tensor(Y)):
        optimizer.zero_grad()
        p = torch.tanh(x @ weights["a"].T + weights["b"])
        ((p - y) ** 2).mean().backward()
        optimizer.step()
        history.append({path: w.detach().numpy().copy() for path, w in weights.items()})
    return history


CASES = [
    ("sgd", lambda o, w: o.SGD(w)),
    ("sgd(lr = 0.1, weight_decay = 0.02)", lambda o, w: o.SGD(w, 0.1, weight_decay=0.02)),
    ("sgd(lr = 0.1, momentum = 0.9)", lambda o, w: o.SGD(w, 0.1, 0.9)),
    ("sgd(0.1, 0.9, dampening = 0.3, weight_decay = 0.1)", lambda o, w: o.SGD(w, 0.1, 0.9, 0.3, 0.1)),
    ("sgd(0.1, 0.9, weight_decay = 0.1, nesterov = true)",
     lambda o, w: o.SGD(w, 0.1, 0.9, weight_decay=0.1, nesterov=True)),
    ("adam", lambda o, w: o.Adam(w)),
    ("adam(0.1, 0.8, 0.9, 1e-3, weight_decay = 0.1)", lambda o, w: o.Adam(w, 0.1, (0.8, 0.9), 1e-3, 0.1)),
    ("adam(0.1, amsgrad = true)", lambda o, w: o.Adam(w, 0.1, amsgrad=True)),
    ("adamw", lambda o, w: o.AdamW(w)),
    ("adamw(0.1, 0.8, 0.9, 1e-3, 0.2)", lambda o, w: o.AdamW(w, 0.1, (0.8, 0.9), 1e-3, 0.2)),
    ("nadam", lambda o, w: o.NAdam(w)),
    ("nadam(0.1, weight_decay = 0.1, momentum_decay = 0.01)",
     lambda o, w: o.NAdam(w, 0.1, weight_decay=0.1, momentum_decay=0.01)),
    ("adamax(0.1, weight_decay = 0.1)", lambda o, w: o.Adamax(w, 0.1, weight_decay=0.1)),
    ("rmsprop", lambda o, w: o.RMSprop(w)),
    ("rmsprop(0.05, 0.9, 1e-4, 0.1, momentum = 0.5)", lambda o, w: o.RMSprop(w, 0.05, 0.9, 1e-4, 0.1, 0.5)),
    ("rmsprop(0.05, centered = true)", lambda o, w: o.RMSprop(w, 0.05, centered=True)),
    ("adagrad", lambda o, w: o.Adagrad(w)),
    ("adagrad(0.1, 0.05, 0.1, initial = 0.3, eps = 1e-4)",
     lambda o, w: o.Adagrad(w, 0.1, 0.05, 0.1, initial_accumulator_value=0.3, eps=1e-4)),
    ("adadelta", lambda o, w: o.Adadelta(w)),
    ("adadelta(0.5, 0.8, 1e-3, 0.1)", lambda o, w: o.Adadelta(w, 0.5, 0.8, 1e-3, 0.1)),
    ("sgd(lr = cosine(0.1, warmup = 3))",
     lambda o, w: Scheduled(o.SGD(w), lambda s: 0.1 * s / 3 if s <= 3 else 0.05 * (1 + np.cos(np.pi * (s - 4) / 7)))),
]  # fmt: skip


class Scheduled:
    """A PyTorch optimizer whose learning rate is a function of the step, from 1."""

    def __init__(self, optimizer, rate):
        self.optimizer, self.rate, self.count = optimizer, rate, 0

    def zero_grad(self):
        self.optimizer.zero_grad()

    def step(self):
        self.count += 1
        self.optimizer.param_groups[0]["lr"] = self.rate(self.count)
        self.optimizer.step()


@pytest.mark.parametrize("text, make", CASES, ids=[t for t, _ in CASES])
def test_optimizer(text, make):
    for step, (mine, theirs) in enumerate(zip(ours(text), by_torch(make), strict=True), 1):
        for path in START:
            np.testing.assert_allclose(mine[path], theirs[path], rtol=1e-9, atol=1e-12, err_msg=f"{path}, step {step}")


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, params, lr, beta1, beta2, decay):
        super().__init__(params, {"lr": lr})
        self.rule = lr, beta1, beta2, decay

    @torch.no_grad()
    def step(self):
        lr, beta1, beta2, decay = self.rule
        for w in self.param_groups[0]["params"]:
            m = self.state[w].setdefault("m", torch.zeros_like(w))
            update = torch.sign(beta1 * m + (1 - beta1) * w.grad)
            w -= lr * (update + decay * w)
            m.mul_(beta2).add_((1 - beta2) * w.grad)


class Lamb(torch.optim.Optimizer):
    """You et al. 2020, algorithm 2, with the identity for phi."""

    def __init__(self, params, lr, decay):
        super().__init__(params, {"lr": lr})
        self.rule, self.count = (lr, decay), 0

    @torch.no_grad()
    def step(self):
        lr, decay = self.rule
        self.count += 1
        for w in self.param_groups[0]["params"]:
            m = self.state[w].setdefault("m", torch.zeros_like(w))
            v = self.state[w].setdefault("v", torch.zeros_like(w))
            m.mul_(0.9).add_(0.1 * w.grad)
            v.mul_(0.999).add_(0.001 * w.grad**2)
            r = m / (1 - 0.9**self.count) / ((v / (1 - 0.999**self.count)).sqrt() + 1e-6) + decay * w
            w -= lr * w.norm() / r.norm() * r


@pytest.mark.parametrize("text, make", [
    ("lion(0.01, 0.8, 0.95, 0.1)", lambda o, w: Lion(w, 0.01, 0.8, 0.95, 0.1)),
    ("lamb(0.1, weight_decay = 0.1)", lambda o, w: Lamb(w, 0.1, 0.1)),
])  # fmt: skip
def test_optimizer_from_its_paper(text, make):
    test_optimizer(text, make)


@pytest.mark.parametrize("field, clip", [
    ("clip_norm 0.05", lambda ws: torch.nn.utils.clip_grad_norm_(ws, 0.05)),
    ("clip_norm 100", lambda ws: torch.nn.utils.clip_grad_norm_(ws, 100)),
    ("clip_value 0.02", lambda ws: torch.nn.utils.clip_grad_value_(ws, 0.02)),
])  # fmt: skip
def test_clipping(field, clip):
    class Clipped(torch.optim.SGD):
        def step(self):
            clip(self.param_groups[0]["params"])
            super().step()

    for mine, theirs in zip(ours("sgd(0.5)", field), by_torch(lambda o, w: Clipped(w, 0.5)), strict=True):
        for path in START:
            np.testing.assert_allclose(mine[path], theirs[path], rtol=1e-9)


def test_average():
    """ema(d) in step s keeps min(d, (1 + s) / (10 + s)) of the average."""
    history = ours("sgd(0.5)", "average ema(0.4)")
    expected = START["a"]
    for step, kept in enumerate(history, 1):
        rate = min(0.4, (1 + step) / (10 + step))
        expected = rate * expected + (1 - rate) * kept["a"]
        np.testing.assert_allclose(kept["a.average"], expected, rtol=1e-12)
