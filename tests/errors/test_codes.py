"""The table of codes: every code that can be raised is explained, and every example is what it claims to be."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pytest

import diffgraph
from diffgraph.cli import run
from diffgraph.diagnostics import DiffgraphError
from diffgraph.diagnostics.catalogue import Block, Explanation, explanations

PACKAGE = Path(diffgraph.__file__).parent
CODE = re.compile(r"DG\d{3}")

#: What cannot be shown by a short example, and where else it is tested or why it is not.
WITHOUT_EXAMPLE = {
    "DG592": "100,000 tensors take long to make",
    "DG595": "100,000 layers take long to make",
    "DG597": "65 files",
    "DG774": "needs two pictures",
    "DG707": "depends on what the machine has, and on the network",
    "DG906": "depends on what is installed",
    "DG950": "needs the package onnx: tests/interop",
    "DG951": "depends on what is installed",
    "DG952": "needs the package onnx: tests/interop",
    "DG953": "needs the package onnx: tests/interop",
    "DG946": "depends on what is installed",
    **{code: "depends on what is installed: tests/cuda" for code in ("DG820", "DG821", "DG822", "DG823", "DG824")},
    "DG825": "takes gigabytes: tests/cuda",
    "DG826": "takes a long scan on a device",
}


def raised_codes() -> dict[str, set[str]]:
    """The codes in the source, each with the files that raise it."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
                found.setdefault(node.value, set()).add(str(path.relative_to(PACKAGE)))
    return found


def codes_of(example, folder: Path, capsys) -> set[str]:
    """The codes that an example raises in a folder, from its Python and its commands, or else from checking it."""
    found = set()
    for block in example:
        if block.name:
            (folder / block.name).write_text(block.text)
    steps = [block for block in example if not block.name]
    for block in steps or [Block("console", "", "$ diffgraph check model.net")]:
        if block.kind == "console":
            for line in block.text.splitlines():
                found |= _codes_told(shlex.split(line.removeprefix("$ diffgraph")), capsys)
            continue
        try:
            exec(compile(block.text, "example", "exec"), {})
        except DiffgraphError as problem:
            found |= {d.code for d in problem.diagnostics}
    return found


def _codes_told(command: list[str], capsys) -> set[str]:
    status = run(command)
    captured = capsys.readouterr()
    codes = set(re.findall(r"error\[(DG\d{3})\]", captured.err))
    assert (status == 0) == (not codes), captured.err
    return codes


def test_every_code_is_explained():
    raised, explained = raised_codes(), set(explanations())
    assert not raised.keys() - explained, "explain it in diffgraph/diagnostics/codes/*.md"
    assert not explained - raised.keys(), "nothing raises it any longer"
    assert len(raised) > 200


def test_a_code_has_one_meaning():
    entries = [h for file in (PACKAGE / "diagnostics" / "codes").glob("*.md")
               for h in re.findall(r"^## (DG\d{3}):", file.read_text(), re.MULTILINE)]  # fmt: skip
    assert len(entries) == len(set(entries))


@pytest.mark.parametrize("entry", explanations().values(), ids=lambda e: e.code)
def test_an_example_raises_its_code_and_its_repair_nothing(entry: Explanation, tmp_path, monkeypatch, capsys):
    assert entry.title and entry.text
    if entry.code in WITHOUT_EXAMPLE:
        assert not entry.wrong
        return
    for name, example, expected in (("wrong", entry.wrong, {entry.code}), ("repaired", entry.repaired, set())):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        assert example
        assert codes_of(example, folder, capsys) == expected


def test_explain_error(capsys):
    assert run(["explain-error", "DG301"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("DG301: ") and "Wrong:" in text and "Repaired:" in text
    assert run(["explain-error", "301"]) == run(["explain-error", "dg301"]) == 0
    capsys.readouterr()
    assert run(["explain-error"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(explanations())
    assert run(["explain-error", "DG301", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["code"] == "DG301"


def test_an_unknown_code(capsys):
    assert run(["explain-error", "DG30"]) == 2
    assert "did you mean `DG301`?" in capsys.readouterr().err
