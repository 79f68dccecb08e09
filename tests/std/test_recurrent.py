"""Recurrent cells and layers, against PyTorch."""

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


def test_reverse(agrees):
    agrees("x -> gru(5, reverse = true) as f", SEQUENCE,
           lambda x, p: call(torch.nn.GRU(4, 5, batch_first=True), p, x.flip(1))[0].flip(1))  # fmt: skip
