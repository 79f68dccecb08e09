"""`RNN`, `GRU` and `LSTM`: a scan over time for each direction."""

from __future__ import annotations

from diffgraph.interop.onnx.operation import Operation

#: How many gates each has, and the activations that it has unless others are given.
_GATES = {"RNN": (1, ["Tanh"]), "GRU": (3, ["Sigmoid", "Tanh"]), "LSTM": (4, ["Sigmoid", "Tanh", "Tanh"])}
#: Names in the bodies of scans.
LOCAL = frozenset("state_h state_c new_h new_c step_t total gates keep reset fresh into out".split())

_ACTIVATIONS = {"Tanh": "tanh", "Sigmoid": "sigmoid", "Relu": "relu"}


def recurrent(op: Operation) -> None:
    """The statements of one operation; all its results are named."""
    gates, usual = _GATES[op.node.op]
    direction = op.attribute("direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    activations = op.attribute("activations", usual * count)
    if op.has(4) or op.attribute("clip", None) is not None or op.attribute("input_forget", 0):
        raise op.refused("with lengths of sequences, a clip, or coupled gates")
    if any(name not in _ACTIVATIONS for name in activations):
        raise op.refused(f"with the activations {', '.join(activations)}")
    batch_first = bool(op.attribute("layout", 0))
    paths, ends, cells = [], [], []
    for d in range(count):
        backward = direction == "reverse" or d == 1
        own = [_ACTIVATIONS[name] for name in activations[d * len(usual) : (d + 1) * len(usual)]]
        path, end, cell = _one_direction(op, d, gates, own, backward, batch_first)
        paths.append(path)
        ends.append(end)
        cells.append(cell)
    names = op.outputs(3 if op.node.op == "LSTM" else 2)
    op.write(f"{names[0]} = stack({', '.join(paths)}, axis = {2 if batch_first else 1})")
    op.write(f"{names[1]} = stack({', '.join(ends)}, axis = {1 if batch_first else 0})")
    if op.node.op == "LSTM":
        op.write(f"{names[2]} = stack({', '.join(cells)}, axis = {1 if batch_first else 0})")


def _one_direction(op: Operation, d: int, gates: int, activations: list[str], backward: bool, batch_first: bool):
    """(states over time, the last state, the last cell) of one direction: names of tensors."""
    size = op.shape(2)[-1]
    steps, batch = op.shape(0)[:2][:: -1 if batch_first else 1]
    x = op.read(0, ["n", "t", "k"] if batch_first else ["t", "n", "k"])
    bias = f" + {op.read(3, [str(d), 'i'])} + {op.read(3, [str(d), f'i + {gates * size}'])}" if op.has(3) else ""
    split = op.node.op == "GRU" and op.has(3)
    if split:
        # What the reset gate does not reach stays apart.
        bias = f" + {op.read(3, [str(d), 'i'])}"
    given = op.extra(f"given{d}")
    op.write(f"{given}[t, n, i < {gates * size}] = sum[k]({op.read(1, [str(d), 'i', 'k'])} * {x}){bias}")
    weights = op.extra(f"weights{d}")
    op.write(f"{weights}[k < {size}, i < {gates * size}] = {op.read(2, [str(d), 'i', 'k'])}")
    start = op.extra(f"start{d}")
    initial = [["n", str(d), "k"], [str(d), "n", "k"]][not batch_first]
    zeros = f"zeros([{batch}, {size}])"
    op.write(f"{start}[n, k] = {op.read(5, initial)}" if op.has(5) else f"{start} = {zeros}")
    cell = op.extra(f"cell{d}")
    if op.node.op == "LSTM":
        op.write(f"{cell}[n, k] = {op.read(6, initial)}" if op.has(6) else f"{cell} = {zeros}")
    late = ""
    if split:
        late = op.extra(f"late{d}")
        op.write(f"{late}[i < {gates * size}] = {op.read(3, [str(d), f'i + {gates * size}'])}")
    time = f"{steps} - 1 - step_t" if backward else "step_t"
    body = _BODIES[op.node.op](op, d, size, activations, f"{given}[{time}, :, :]", weights, late)
    return _scan(op, d, steps, start, cell, body, backward, batch_first)


def _scan(op: Operation, d: int, steps, start: str, cell: str, body: list[str], backward: bool, batch_first: bool):
    path, end = op.extra(f"path{d}"), op.extra(f"end{d}")
    is_lstm = op.node.op == "LSTM"
    carries = f"state_h = {start}" + (f", state_c = {cell}" if is_lstm else "")
    cells = op.extra(f"cells{d}") if is_lstm else ""
    names = f"{path}, {cells}" if is_lstm else path
    lines = "\n".join([*body, "yield new_h, new_c" if is_lstm else "yield new_h"])
    op.write(f"{names} = scan step_t in 0..{steps} from {carries} {{\n{lines}\n}}")
    op.write(f"{end} = last({path})")
    last_cell = op.let(f"last_cell{d}", f"last({cells})") if is_lstm else ""
    time = f"{steps} - 1 - t" if backward else "t"
    shown = op.extra(f"shown{d}")
    places = "n, t" if batch_first else "t, n"
    bounds = places.replace("t", f"t < {steps}")
    op.write(f"{shown}[{bounds}, k] = {path}[{time}, n, k]")
    return shown, end, last_cell


def _rnn(op: Operation, d: int, size: int, activations: list[str], given: str, weights: str, late: str) -> list[str]:
    return [f"new_h = {activations[0]}({given} + state_h @ {weights})", "next state_h = new_h"]


def _gru(op: Operation, d: int, size: int, activations: list[str], given: str, weights: str, late: str) -> list[str]:
    f, g = activations
    later = f" + {late}[{2 * size}:]" if late else ""
    gates = f" + {late}[:{2 * size}]" if late else ""
    if op.attribute("linear_before_reset", 0):
        inner = f"reset * (state_h @ {weights}[:, {2 * size}:]{later})"
    else:
        inner = f"(reset * state_h) @ {weights}[:, {2 * size}:]{later}"
    return [
        f"total = {given}",
        f"gates = total[:, :{2 * size}] + state_h @ {weights}[:, :{2 * size}]{gates}",
        f"keep = {f}(gates[:, :{size}])",
        f"reset = {f}(gates[:, {size}:])",
        f"fresh = {g}(total[:, {2 * size}:] + {inner})",
        "new_h = (1 - keep) * fresh + keep * state_h",
        "next state_h = new_h",
    ]


def _lstm(op: Operation, d: int, size: int, activations: list[str], given: str, weights: str, late: str) -> list[str]:
    f, g, h = activations

    def peep(k: int, cell: str) -> str:
        return f" + {op.atom(7)}[{d}, {k * size}:{(k + 1) * size}] * {cell}" if op.has(7) else ""

    return [
        f"gates = {given} + state_h @ {weights}",
        f"into = {f}(gates[:, :{size}]{peep(0, 'state_c')})",
        f"keep = {f}(gates[:, {2 * size}:{3 * size}]{peep(2, 'state_c')})",
        f"new_c = keep * state_c + into * {g}(gates[:, {3 * size}:])",
        f"out = {f}(gates[:, {size}:{2 * size}]{peep(1, 'new_c')})",
        f"new_h = out * {h}(new_c)",
        "next state_h = new_h",
        "next state_c = new_c",
    ]


#: The operations that are scans.
RECURRENT = frozenset(_GATES)

_BODIES = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}
