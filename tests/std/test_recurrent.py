"""Recurrent cells and layers, against PyTorch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

STEP = {"x": (3, 4), "h": (3, 5)}
SEQUENCE = {"x": (2, 3, 4)}


def call(module, p, *tensors):
    """PyTorch's module with our parameters, applied."""
    # mkldnn's recurrent kernels have no second derivatives.
    with torch.backends.mkldnn.flags(enabled=False):
        parameters = {name: p[name] for name, _ in module.named_parameters()}
        return torch.func.functional_call(module.double(), parameters, tensors)


@pytest.mark.parametrize("text, make", [
    ("rnn_cell(5)", lambda: torch.nn.RNNCell(4, 5)),
    ("rnn_cell(5, activation = relu)", lambda: torch.nn.RNNCell(4, 5, nonlinearity="relu")),
    ("rnn_cell(5, bias = false)", lambda: torch.nn.RNNCell(4, 5, bias=False)),
    ("gru_cell(5)", lambda: torch.nn.GRUCell(4, 5)),
    ("gru_cell(5, bias = false)", lambda: torch.nn.GRUCell(4, 5, bias=False)),
])  # fmt: skip
def test_cell(agrees, text, make):
    agrees(f"(x, h) -> {text} as f", STEP, lambda x, h, p: call(make(), p, x, h), second="relu" not in text)


def test_lstm_cell(agrees):
    joined = """
    layer both(units)(x, h, c) {
        new_h, new_c = (x, h, c) -> lstm_cell(units) as cell
        return concat(new_h, new_c, axis = 1)
    }"""

    def theirs(x, h, c, p):
        p = {k.removeprefix("cell."): v for k, v in p.items()}
        return torch.cat(call(torch.nn.LSTMCell(4, 5), p, x, (h, c)), 1)

    agrees("(x, h, c) -> both(5) as f", STEP | {"c": (3, 5)}, theirs, declarations=joined)


@pytest.mark.parametrize("text, make", [
    ("rnn(5)", lambda: torch.nn.RNN(4, 5, batch_first=True)),
    ("gru(5)", lambda: torch.nn.GRU(4, 5, batch_first=True)),
    ("lstm(5)", lambda: torch.nn.LSTM(4, 5, batch_first=True)),
    ("lstm(5, bias = false)", lambda: torch.nn.LSTM(4, 5, bias=False, batch_first=True)),
])  # fmt: skip
def test_layer(agrees, text, make):
    agrees(f"x -> {text} as f", SEQUENCE, lambda x, p: call(make(), p, x)[0], single=True)


@pytest.mark.parametrize("text, make", [
    ("rnn(3, 2, relu)", lambda: torch.nn.RNN(4, 3, 2, nonlinearity="relu", batch_first=True)),
    ("gru(3, layers = 2, dropout = 0.3)", lambda: torch.nn.GRU(4, 3, 2, batch_first=True)),
    ("lstm(3, bidirectional = true)", lambda: torch.nn.LSTM(4, 3, bidirectional=True, batch_first=True)),
    ("gru(2, 3, false, bidirectional = true)",
     lambda: torch.nn.GRU(4, 2, 3, False, bidirectional=True, batch_first=True)),
    ("lstm(2, layers = 2, bidirectional = true)",
     lambda: torch.nn.LSTM(4, 2, 2, bidirectional=True, batch_first=True)),
])  # fmt: skip
def test_stacked(agrees, text, make):
    agrees(f"x -> {text} as f", SEQUENCE, lambda x, p: call(make(), p, x)[0], second=False)


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 1, 4), (5, 2, 4)])
def test_one_sample_and_one_place(agrees, shape):
    agrees("x -> lstm(3, 2, bidirectional = true) as f", {"x": shape},
           lambda x, p: call(torch.nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True), p, x)[0],
           second=False)  # fmt: skip


def test_weights_of_pytorch_are_taken_as_they_are():
    """The same names and shapes, any batch."""
    import diffgraph

    theirs = torch.nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True)
    net = diffgraph.loads("net r() {\n input x[N, T, 4]\n y = x -> lstm(3, 2, bidirectional = true) as f\n output y\n}")
    x = torch.randn(3, 6, 4)
    net.load({f"f.{name}": p.detach().numpy() for name, p in theirs.named_parameters()})
    for batch in (1, 3):
        expected = theirs(x[:batch])[0].detach().numpy()
        np.testing.assert_allclose(net(x=x[:batch].numpy())["y"], expected, atol=1e-6)


def test_dropout_stands_between_layers_in_training():
    import diffgraph

    text = "net r() {{\n input x[N, 3, 4]\n y = x -> gru(8, layers = {}, dropout = 0.9) as f\n output y\n loss mean(y^2)\n}}"
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    one, two = (diffgraph.loads(text.format(layers)) for layers in (1, 2))
    assert one.loss(x=x, training=True) == one.loss(x=x), "none after the last"
    assert two.loss(x=x, training=True) != two.loss(x=x)


def test_reverse(agrees):
    agrees("x -> gru(5, reverse = true) as f", SEQUENCE,
           lambda x, p: call(torch.nn.GRU(4, 5, batch_first=True), p, x.flip(1))[0].flip(1))  # fmt: skip
