"""The text of a PTX module -> its kernel, as instructions with names resolved."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

#: NumPy's type of each PTX type.
DTYPES = {
    "b8": np.uint8, "u8": np.uint8, "s8": np.int8, "b16": np.uint16, "u16": np.uint16, "s16": np.int16, "f16": np.float16,
    "bf16": np.uint16, "b32": np.uint32, "u32": np.uint32, "s32": np.int32, "f32": np.float32, "bf16x2": np.uint32,
    "b64": np.uint64, "u64": np.uint64, "s64": np.int64, "f64": np.float64, "pred": np.bool_, "tf32": np.uint32,
}  # fmt: skip

_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[%\w$]+")
_LABEL = re.compile(r"([\w$]+):")
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(.*)", re.S)
_ARRAY = re.compile(r"\.(local|shared)\s+\.align\s+(\d+)\s+\.b8\s+([\w$]+)\[(\d*)\]")
_GUARD = re.compile(r"@(!?)([%\w$]+)\s+(.*)", re.S)
_OPERATION = re.compile(r"([\w.:]+)\s*(.*)", re.S)
_OPERAND = re.compile(r"\s*(\{[^}]*\}|\[[^\]]*\]|[^,]+)")
_ENTRY = re.compile(r"\.visible\s+\.entry\s+([\w$]+)\s*\((.*?)\)([^{]*)\{", re.S)
_PARAMETER = re.compile(r"\.param\s+\.(\w+)\s+.*?([\w$]+)\s*$", re.S)
_OUTSIDE_ARRAY = re.compile(
    r"(\.extern\s+)?\.(?:shared|global|const)\s+\.align\s+(\d+)\s+\.b8\s+([\w$]+)\[(\d*)\](?:\s*=\s*\{([^}]*)\})?"
)


class UnknownPtx(Exception):
    """A construct that the interpreter does not know."""


@dataclass(frozen=True)
class Instruction:
    """An instruction: the words of its name, its operands, and the predicate that guards it (negated or not, register)."""

    name: tuple[str, ...]
    operands: tuple[str, ...]
    guard: tuple[bool, str] | None

    @property
    def text(self) -> str:
        """As it is written, near enough."""
        return f"{'.'.join(self.name)} {', '.join(self.operands)}"


@dataclass
class Kernel:
    """An entry of a module.

    parameters: (type, name) in order. registers: the type of each. shared, local: the offset of each array in the memory
    of a block, of a thread. dynamic: shared arrays that begin where the static ones end. constants: bytes by name.
    """

    name: str
    parameters: list[tuple[str, str]]
    registers: dict[str, str] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)
    shared_bytes: int = 0
    dynamic: list[str] = field(default_factory=list)
    local: dict[str, int] = field(default_factory=dict)
    local_bytes: int = 0
    constants: dict[str, bytes] = field(default_factory=dict)
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def parse(text: str) -> Kernel:
    """The one kernel of a module."""
    text = re.sub(r"//[^\n]*", "", text)
    entry = _ENTRY.search(text)
    if entry is None:
        raise UnknownPtx("the module has no kernel")
    head, body = text[: entry.start()], text[entry.end() :]
    if re.search(r"\.func\b", head):
        raise UnknownPtx("the module has functions that are not inlined")
    pieces = [p.strip() for p in entry.group(2).split(",") if p.strip()]
    kernel = Kernel(entry.group(1), [_PARAMETER.search(p).groups() for p in pieces])
    for external, align, name, size, values in _OUTSIDE_ARRAY.findall(head):
        if ".shared" in head[head.index(name) - 60 : head.index(name)]:
            _place_shared(kernel, "" if external else size, int(align), name)
        else:
            kernel.constants[name] = bytes(int(v, 0) & 255 for v in values.split(",")) if values else bytes(int(size))
    _Body(kernel, body).read()
    return kernel


def _place_shared(kernel: Kernel, size: str, align: int, name: str) -> None:
    if not size:
        kernel.dynamic.append(name)
        return
    offset = -(-kernel.shared_bytes // align) * align
    kernel.shared[name] = offset
    kernel.shared_bytes = offset + int(size)


class _Body:
    """Reads the instructions of a kernel; a block in braces may declare registers of its own."""

    def __init__(self, kernel: Kernel, text: str):
        self.kernel = kernel
        self.text = text
        self.scopes: list[dict[str, str]] = [{}]
        self._declared = 0

    def read(self) -> None:
        """All of them, up to the brace that closes the kernel."""
        at = 0
        while self.scopes:
            at = _SPACE.match(self.text, at).end() if self.text[at].isspace() else at
            if self.text[at] in "{}":
                self.scopes.append({}) if self.text[at] == "{" else self.scopes.pop()
                at += 1
            elif label := _LABEL.match(self.text, at):
                self.kernel.labels[label.group(1)] = len(self.kernel.code)
                at = label.end()
            else:
                end = self.text.index(";", at)
                self._statement(self.text[at:end].strip())
                at = end + 1

    def _statement(self, text: str) -> None:
        if not text or text.startswith((".pragma", ".loc", ".file")):
            return
        if found := _REGISTERS.match(text):
            self._registers(*found.groups())
        elif found := _ARRAY.match(text):
            space, align, name, size = found.groups()
            if space == "shared":
                _place_shared(self.kernel, size, int(align), name)
            else:
                self.kernel.local[name] = self.kernel.local_bytes
                self.kernel.local_bytes += -(-int(size) // 16) * 16
        else:
            self._instruction(text)

    def _registers(self, kind: str, names: str) -> None:
        for declared in names.split(","):
            name, count = re.match(r"([%\w$]+)(?:<(\d+)>)?", declared.strip()).groups()
            if count:
                self.kernel.registers.update((f"{name}{n}", kind) for n in range(int(count)))
                continue
            self._declared += 1
            own = name if len(self.scopes) == 1 else f"{name}@{self._declared}"
            self.scopes[-1][name] = own
            self.kernel.registers[own] = kind

    def _instruction(self, text: str) -> None:
        guard = None
        if found := _GUARD.match(text):
            guard, text = (found.group(1) == "!", self._resolved(found.group(2))), found.group(3)
        name, rest = _OPERATION.match(text).groups()
        operands = [o.strip() for o in _OPERAND.findall(rest) if o.strip()]
        self.kernel.code.append(
            Instruction(tuple(name.replace("::", ":").split(".")), tuple(self._resolved(o) for o in operands), guard)
        )

    def _resolved(self, operand: str) -> str:
        if len(self.scopes) == 1:
            return operand

        def own(found):
            return next((s[found.group(0)] for s in reversed(self.scopes) if found.group(0) in s), found.group(0))

        return _WORD.sub(own, operand)
