"""`diffgraph explain`: every decision has the line of the file it is about, and equal ones are told once."""

import json

import pytest

import diffgraph as dg
from diffgraph.cli import run
from diffgraph.inspect.explain import explanations, text

TEXT = """\
layer half(x_scale = 2)(x[N, D]) {
    return tanh(x -> linear(D)) / x_scale
}

net model {
    input  x[N, 4]
    target y[N, 4]
    h = x -> half -> half -> half
    loss mean((h - y)^2)
}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.net"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("inference", [False, True])
def test_decisions_have_lines(file, inference):
    account = explanations(dg.load(file), inference)
    assert account.explanations
    placed = [e for e in account.explanations if any(layer.startswith("half") for layer in e.layers)]
    assert {e.line for e in placed} <= {2, 8, 9}, "what the library made for a layer belongs to the line that applies it"
    assert any(e.done for e in placed) and any(not e.done for e in placed)
    lines = [e.line for e in account.explanations]
    assert lines == sorted(lines, key=lambda line: (line is None, line or 0))


def test_text_groups_by_line(file):
    shown = text(explanations(dg.load(file)))
    assert shown.count("2 | return tanh(x -> linear(D)) / x_scale") == 1
    assert "half1" in shown and "backward" in shown and "times)" in shown
    assert not any(len([part for part in shown.splitlines() if part == line]) > 1 for line in shown.splitlines() if line)


def test_command(file, capsys):
    assert run(["explain", str(file), "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {"pass", "done", "text", "layers", "phases", "line"} == set(entries[0])
    assert run(["explain", str(file), "--inference"]) == 0
    assert "done" in capsys.readouterr().out
