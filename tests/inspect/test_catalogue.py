"""The catalogue: every entry says what it is, what each setting means, and shows a use."""

import json
import re

import pytest

from diffgraph.cli import run
from diffgraph.diagnostics import DiffgraphError
from diffgraph.inspect.catalogue import catalogue
from diffgraph.language.core_functions import CORE
from diffgraph.language.core_notes import CORE_NOTES
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.language.parser import parse_text
from diffgraph.training.data.sources import SOURCES

ENTRIES = catalogue()
FOR_USE = [entry for entry in ENTRIES.values() if entry.examples]

#: Tensors whose names say all there is to say.
PLAIN = set("x a b v y prediction parameters".split())


def test_every_setting_is_explained():
    """Blocks of networks have settings with the names of those of `conv`."""
    settings = [(entry, setting) for entry in FOR_USE if entry.theme != "vision" for setting in entry.settings]
    silent = {
        f"{entry.name}: {setting.name}"
        for entry, setting in settings
        if not setting.about and not re.search(rf"\b{setting.name}\b", entry.prose) and setting.name not in PLAIN
    }
    assert silent == set()


def test_text_holds_everything_once():
    for entry in FOR_USE:
        text = entry.text()
        assert text.startswith(entry.signature)
        assert entry.summary.endswith((".", ":")) and entry.summary in text, entry.name
        assert all(f"\n  {example}" in text for example in entry.examples), entry.name
        assert "Example: " not in entry.prose and "\n\n\n" not in text, entry.name


def test_all_is_there():
    assert {"conv", "adam", "softmax", "accuracy", "cosine", "resnet50"} <= ENTRIES.keys()
    assert CORE.keys() == CORE_NOTES.keys() <= ENTRIES.keys()
    assert SOURCES.keys() <= ENTRIES.keys()


#: What the examples of the core's functions read.
AROUND = """
net probe {
    input x[N, 8, 6, 6]
    input y[N, 8, 6, 6]
    input logits[N, 10]
    input label[N]: int < 10
    input qkv[N, 12]
    a = x; b = y; e = x; u = sigmoid(x); v = x; logit = x; distance = logits; up = x; skip = y; path = x
    units = 5; T = 3; kernel = 3; i = 3
    %s
    output found = values * 1.0
}
"""


@pytest.mark.parametrize("name", [name for name in CORE_NOTES if name != "constant"])
def test_examples_of_the_core_mean_something(name):
    example = CORE_NOTES[name][1]
    statement = example if example.startswith("values, ") else f"values = list({example})"
    assert elaborate(load_text(AROUND % statement), "probe", {}).outputs


@pytest.mark.parametrize("name", SOURCES)
def test_examples_of_sources_parse(name):
    for example in ENTRIES[name].examples:
        parse_text(f"train n {{ {example} }}")
    assert ENTRIES[name].examples, f"the docstring of `{name}` shows no use"


def test_command(capsys):
    assert run(["layers"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"^  conv  +A convolution", listed, re.MULTILINE) and "used inside: " in listed
    assert run(["layers", "adam"]) == 0
    shown = capsys.readouterr().out
    assert "\n  lr = 1e-3         size of a step" in shown and "optimizer adam(lr = 1e-3)" in shown
    assert run(["layers", "resnet18"]) == 0
    assert 'from "std/vision.net" import resnet18' in capsys.readouterr().out
    assert run(["layers", "conv", "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert {"name": "stride", "written": "stride = 1", "about": ""} not in entry["settings"]
    assert entry["parameters"][0].startswith("param weight[channels, share, k]")
    assert run(["layers", "conw"]) == 2
    assert "did you mean `conv`?" in capsys.readouterr().err


def test_a_doubtful_example_would_be_found():
    with pytest.raises(DiffgraphError):
        elaborate(load_text(AROUND % "values = concat(x, logits, axis = 1)"), "probe", {})
