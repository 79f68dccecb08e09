"""What each code means: a title, an explanation, a wrong example and its repaired version.

The table is the files of `codes/`, one for each hundred. An example is a program, `model.net`, that `diffgraph check` is
run on; or files with commands, or Python. It is tested that the wrong one raises the code and the other one nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Block:
    """A fenced block of an example: `kind` is net, csv, python or console; `name` the file it is, if it is one."""

    kind: str
    name: str
    text: str

    def lines(self) -> list[str]:
        """As a person reads it: indented, under its name where it is one of several files."""
        head = [f"    # {self.name}"] if self.name not in ("", "model.net") else []
        return head + [f"    {line}".rstrip() for line in self.text.splitlines()]


@dataclass(frozen=True)
class Explanation:
    """A code explained. An example may be empty, where what is wrong lies outside of all programs (a full disk)."""

    code: str
    title: str
    text: str
    wrong: tuple[Block, ...]
    repaired: tuple[Block, ...]

    def render(self) -> str:
        """The explanation as `diffgraph explain-error` prints it."""
        parts = [f"{self.code}: {self.title}", "", self.text]
        for label, example in (("Wrong:", self.wrong), ("Repaired:", self.repaired)):
            if example:
                parts += ["", label]
                parts += [line for block in example for line in ("", *block.lines())]
        return "\n".join(parts)

    def as_json(self) -> dict:
        """Plain values."""
        examples = {"wrong": self.wrong, "repaired": self.repaired}
        blocks = {k: [{"kind": b.kind, "name": b.name, "text": b.text} for b in v] for k, v in examples.items()}
        return {"code": self.code, "title": self.title, "explanation": self.text, **blocks}


_ENTRY = re.compile(r"^## (DG\d{3}): (.*)\n", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def explanations() -> dict[str, Explanation]:
    """Every code with its explanation, in order."""
    found: dict[str, Explanation] = {}
    for file in sorted((files("diffgraph.diagnostics") / "codes").iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".md"):
            continue
        _, *pieces = _ENTRY.split(file.read_text(encoding="utf-8"))
        for code, title, body in zip(pieces[::3], pieces[1::3], pieces[2::3]):
            found[code] = _entry(code, title, body)
    return found


def _entry(code: str, title: str, body: str) -> Explanation:
    text, _, examples = body.partition("\nWrong:\n")
    wrong, _, repaired = examples.partition("\nRepaired:\n")
    return Explanation(code, title.strip(), text.strip(), _blocks(wrong), _blocks(repaired))


def _blocks(text: str) -> tuple[Block, ...]:
    found = (Block(kind, name, content) for kind, name, content in _BLOCK.findall(text))
    return tuple(Block("net", b.name or "model.net", b.text) if b.kind == "net" else b for b in found)
