"""The documentation is true: every block marked `net` is a file that checks, trains a few steps and holds what it
expects; every command runs, and prints what stands below it; the Python runs."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from diffgraph.cli import run
from diffgraph.compiler import Net, net_of_block
from diffgraph.inspect.expectations import verdicts
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_module, load_text

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGE = ROOT / "docs" / "language.md"


@dataclass(frozen=True)
class Block:
    """A fenced block: what is written behind its fence, its text, and where it stands."""

    about: str
    text: str
    page: str
    line: int

    @property
    def file(self) -> str | None:
        """The name of the file that a block is, in its first line."""
        named = re.match(r"# (\w+\.net)\n", self.text)
        return named and named.group(1)


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```([a-z ]+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [Block(b.group(1), b.group(2), page.name, text[: b.start()].count("\n") + 1) for b in found]


ALL = [b for page in PAGES for b in blocks_of(page)]
NETS = [pytest.param(b, id=f"{b.page}:{b.line}") for b in ALL if b.about == "net"]
COMMANDS = [b for b in blocks_of(LANGUAGE) if b.about in ("sh", "sh fails", "text")]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files of the page on the language, in a folder of their own."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for block in blocks_of(LANGUAGE):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("block", NETS)
def test_net(block, files):
    module = load_module(files / block.file) if block.file else load_text(block.text, folder=files)
    for net in module.nets:
        for training in (False, True):
            elaborate(module, net=net, training=training)
    if block.page != LANGUAGE.name:
        return
    for train in module.trains:
        net = Net(module, train.net, train=train.name, target="reference")
        net.train(steps=2)
        assert all(np.all(np.isfinite(v)) for v in net.storage.values())
    for expect, verdict in verdicts(module, lambda b, **o: net_of_block(module, b, **{"target": "reference", **o})):
        assert verdict.holds, f"{expect.net}: {verdict.text} ({verdict.measured})"


def test_commands_run_and_print_what_is_shown(files, capsys):
    printed = ""
    for block in COMMANDS:
        if block.about == "text":
            missing = [line.strip() for line in block.text.splitlines() if line.strip() not in printed]
            assert not missing, f"line {block.line}: {missing} is not in\n{printed}"
            continue
        printed = ""
        for line in block.text.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            assert program == "diffgraph"
            status = run(arguments)
            captured = capsys.readouterr()
            printed += captured.out + captured.err
            assert (status == 0) is (block.about == "sh"), f"line {block.line}: {line}\n{printed}"


def test_the_python_runs(files):
    for block in blocks_of(LANGUAGE):
        if block.about == "python":
            exec(compile(block.text, f"language.md:{block.line}", "exec"), {})


def test_the_tour_is_there():
    assert len(NETS) > 30
