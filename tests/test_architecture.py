"""The house rules that a machine can check: imports point down only, each outside library has one door."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import diffgraph

PACKAGE = Path(diffgraph.__file__).parent

#: From the ground up. A module imports only from its own floor and from floors below.
FLOORS = [
    "diagnostics",
    "ir",
    "autodiff",
    "language",
    "passes",
    "kernels",
    "targets",
    "runtime",
    "training",
    "inspect",
    "interop",
    "compilation",
    "compiler",
    "artifact",
    "editors",
    "cli",
]

#: Outside library -> the only places that may import it.
DOORS = {
    "lark": ("language/",),
    "networkx": ("ir/graph.py",),
    "numba": ("targets/", "runtime/"),
    "llvmlite": ("targets/", "runtime/"),
    "click": ("cli/",),
    "pygments": ("editors/pygments_lexer.py",),
    "onnx": ("interop/onnx/graph.py", "interop/onnx/functions.py", "interop/onnx/writing/protocol.py"),
    "pygls": ("editors/server.py",),
    "lsprotocol": ("editors/server.py",),
    "safetensors": ("interop/",),
    "PIL": ("training/data/pictures.py",),
    "torch": (),
}


@cache
def modules():
    return sorted(PACKAGE.rglob("*.py"))


@cache
def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def floor(dotted: str) -> int:
    return FLOORS.index(dotted.split(".")[1])


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    here = path.relative_to(PACKAGE)
    own = here.parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    level = FLOORS.index(own)
    for name in imported(path):
        if name.startswith("diffgraph."):
            assert floor(name) <= level, f"{here} imports {name}, which lives above it"


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_one_door(library):
    for path in modules():
        here = str(path.relative_to(PACKAGE))
        if any(name.split(".")[0] == library for name in imported(path)):
            assert here.startswith(DOORS[library]), f"{here} imports {library}"


@pytest.mark.parametrize("command", ["import diffgraph", "from diffgraph.cli import run; run(['--help'])"])
def test_starting_loads_nothing_heavy(command):
    program = f"import sys; {command}; print([m for m in ('numba', 'networkx', 'lark', 'torch') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_files_fit_in_one_reading():
    long = {str(p.relative_to(PACKAGE)): n for p in modules() if (n := len(p.read_text().splitlines())) > 500}
    assert not long


def test_every_module_is_on_the_map():
    """`docs/architecture.md` names each, but those of folders that it names as one."""
    text = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]*`", text))))
    folders = ("cli", "training/data", "targets/cuda/ptx")
    paths = [str(p.relative_to(PACKAGE)) for p in modules() if not p.stem.startswith("__")]
    assert not [p for p in paths if Path(p).stem not in named and not p.startswith(folders)]
