"""Wrong programs as people write them, and what they are told: each `NAME.net` beside its message, `NAME.txt`.

The command is `diffgraph check NAME.net` unless the first line of the program says another (`# $ diffgraph train ...`).
After a change of a message: `pytest tests/gallery --update-golden`, and read the difference.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from diffgraph.cli import run

HERE = Path(__file__).parent
COMMAND = "# $ diffgraph "


def programs() -> list[Path]:
    return sorted(HERE.glob("*.net"))


def command_of(program: Path) -> list[str]:
    """The arguments of `diffgraph` for a program of the gallery."""
    first = program.read_text().split("\n")[0]
    return shlex.split(first.removeprefix(COMMAND)) if first.startswith(COMMAND) else ["check", program.name]


@pytest.mark.parametrize("program", programs(), ids=lambda p: p.stem)
def test_what_a_wrong_program_is_told(program, request, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(HERE)
    arguments = command_of(program)
    if arguments[0] == "train":
        arguments += ["-o", str(tmp_path / "run"), "--quiet"]
    status = run(arguments)
    captured = capsys.readouterr()
    told = (captured.err + captured.out).replace(str(tmp_path), "RUNS").rstrip() + f"\n\nexit status {status}\n"
    assert status in (1, 2)
    for unwanted in ("Traceback", "bug in diffgraph"):
        assert unwanted not in told
    told = re.sub(r"(std/\w+\.net):\d+", r"\1:LINE", told)  # The library may grow.
    golden = program.with_suffix(".txt")
    if request.config.getoption("--update-golden"):
        golden.write_text(told)
    assert golden.read_text() == told


def test_the_gallery_is_large():
    assert len(programs()) >= 90
