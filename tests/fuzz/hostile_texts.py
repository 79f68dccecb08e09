"""Texts that nobody would write: programs made from the grammar, and real ones with words, signs and bytes changed."""

from __future__ import annotations

from pathlib import Path
from random import Random

from diffgraph.language.core_functions import CORE
from diffgraph.language.module import standard_library

ROOT = Path(__file__).resolve().parents[2]

NAMES = ("x", "y", "h", "label", "N", "a", "b", "q", "i", "j", "t", "w", "f", "net", "step", "training", "pi", "inf")
NUMBERS = ("0", "1", "2", "3", "-1", "0.5", "1e-3", "7", "10^9", "2^40", "1e999", "1/3", "true", "false", '"s"', "10^30")
BINARY = (*"+ - * / // % @ ^ == != < <= > >= ~= and or ->".split(), "..")
REDUCTIONS = "sum prod max min mean argmax argmin any all".split()
SIGNS = (*BINARY, *"( ) [ ] { } , ; : = ~ <- -> . .. ... # \"".split(), "\n", "if", "for", "scan", "yield", "next")


class Maker:
    """Makes texts; every choice is the generator's."""

    def __init__(self, random: Random):
        self.random = random
        library = standard_library().declarations
        self.functions = sorted(CORE) + sorted(n for n in library if n[0].islower())
        self.layers = ("linear(4)", "relu", "conv(2, 1)", "batchnorm", "dropout(0.5)", "flatten", "gru(3)", "softmax")
        self.real = [p.read_text() for p in sorted((ROOT / "examples").glob("*.net"))]

    def text(self) -> str:
        """One text, of one of four kinds."""
        kind = self.random.random()
        if kind < 0.55:
            return self.program()
        base = self.random.choice(self.real) if kind < 0.75 else self.program()
        return self.by_words(base) if kind < 0.9 else self.by_bytes(base)

    # ------------------------------------------------------------------------------------------------ from the grammar

    def pick(self, *options: str) -> str:
        return self.random.choice(options)

    def expression(self, depth: int = 3) -> str:
        """An expression of moderate size; most mean nothing."""
        if depth == 0 or self.random.random() < 0.15:
            return self.random.choice(NAMES if self.random.random() < 0.6 else NUMBERS)
        inner = lambda: self.expression(depth - 1)  # noqa: E731
        kind = self.random.randrange(13)
        match kind:
            case 0 | 1:
                return f"{inner()} {self.random.choice(BINARY)} {inner()}"
            case 2 | 3:
                return f"{self.random.choice(self.functions)}({self.arguments(depth)})"
            case 4:
                return f"[{', '.join(inner() for _ in range(self.random.randrange(4)))}]"
            case 5:
                return f"{self.random.choice(NAMES)}[{', '.join(self.place(depth) for _ in range(self.random.randrange(1, 4)))}]"
            case 6:
                return f"{self.random.choice(REDUCTIONS)}[{self.index()}]({inner()})"
            case 7:
                return f"({inner()} if {inner()} else {inner()})"
            case 8:
                return f"({inner()} else {inner()})"
            case 9:
                return f"{self.pick('x', 'y', 'a')} -> {self.random.choice(self.layers)}"
            case 10:
                return f"{self.random.choice(NAMES)}.{self.pick('shape', 'size', 'weight', 'a')}"
            case 11:
                return f"grad({inner()}, {self.random.choice(NAMES)})"
        return f"-({inner()})"

    def arguments(self, depth: int) -> str:
        plain = [self.expression(depth - 1) for _ in range(self.random.randrange(4))]
        named = [f"axis = {self.random.choice(NUMBERS)}"] if self.random.random() < 0.2 else []
        return ", ".join(plain + named)

    def place(self, depth: int) -> str:
        return self.pick(":", "...", "0", "-1", "i", "j + 1", "1:", ":2", "2 * i", self.expression(depth - 1))

    def index(self) -> str:
        return self.pick("i", "j", "i, j", "k < 3", "i < N", "...", "k < 10^12", "i, k < 2")

    def statement(self, depth: int = 2) -> str:
        """A statement of a body."""
        value = self.expression
        match self.random.randrange(13):
            case 0 | 1 | 2:
                return f"{self.pick('a', 'b', 'y', 'a, b')} = {value()}"
            case 3 | 4:
                return f"{self.pick('a', 'b', 'y')}[{self.index()}] = {value()}"
            case 5:
                return f"param w[{value(1)}, {value(1)}] {self.pick('= 0', '~ normal(0, 1)', '= ' + value(1))}"
            case 6 if depth:
                return f"if {value(1)} {{ {self.statement(depth - 1)} }} else {{ {self.statement(depth - 1)} }}"
            case 7 if depth:
                return f"for q in {self.pick('0..3', '[1, x]', value(1))} {{ {self.statement(depth - 1)} }}"
            case 8 if depth:
                body = f"{self.statement(depth - 1)}; next h = {value()}"
                more = self.pick("", "", f"; yield {value(2)}")
                return f"y = scan t in 0..{self.pick('3', 'N', '10^12', '0')} from h = {value(1)} {{ {body}{more} }}"
            case 9:
                return f'assert {value()}, "{{{value(1)}}}"'
            case 10:
                return f"{self.pick('output', 'loss', 'metric')} {value()}"
            case 11:
                return f"{self.pick('keep', 'a')}[{self.expression(1)}] ~ {self.pick('bernoulli(0.5)', 'normal(0, 1)', value(1))}"
        return f"state s[{value(1)}] = 0; s <- {value()}"

    def program(self) -> str:
        """A net, some with a layer, a function or blocks beside it."""
        shape = self.pick("N, 4", "N, 3, 5, 5", "3", "N, 6: ", "A, B", "N").rstrip(": ")
        lines = [f"net n {{ input x[{shape}]", *(self.statement() for _ in range(self.random.randrange(1, 5)))]
        text = "\n".join([*lines, f"output z = {self.expression()}", "}"])
        match self.random.randrange(6):
            case 0:
                text += f"\nfn f(a, b = 1) = {self.expression()}"
            case 1:
                text += f"\nlayer f({self.pick('', 'w', 'w = 2')})(a[{self.pick('..., D', 'N, D', 'N, 4')}]) {{ return {self.expression()} }}"
            case 2:
                text += f"\ntrain n {{ {self.pick('batch', 'epochs', 'data', 'optimizer', 'freeze')} {self.expression(2)} }}"
            case 3:
                text += f"\nexpect n {{ {self.expression(2)} == {self.expression(2)} }}"
        return text

    # ------------------------------------------------------------------------------------------------ by mutation

    def by_words(self, text: str) -> str:
        """Some words and signs left out, doubled, swapped or replaced."""
        words = text.replace("\n", " \n ").split(" ")
        for _ in range(self.random.randrange(1, 6)):
            at, other = self.random.randrange(len(words)), self.random.randrange(len(words))
            match self.random.randrange(4):
                case 0:
                    words[at] = self.random.choice((*SIGNS, *NAMES, *NUMBERS))
                case 1:
                    words[at] = words[other]
                case 2:
                    words.insert(at, self.random.choice((*SIGNS, *NUMBERS)))
                case 3 if len(words) > 1:
                    del words[at]
        return " ".join(words)

    def by_bytes(self, text: str) -> str:
        """Some bytes changed, and read as the text that they then are."""
        data = bytearray(text.encode())
        for _ in range(self.random.randrange(1, 8)):
            at = self.random.randrange(len(data))
            match self.random.randrange(3):
                case 0:
                    data[at] = self.random.randrange(256)
                case 1:
                    del data[at : at + self.random.randrange(1, 20)]
                case 2:
                    data[at:at] = data[self.random.randrange(len(data)) :][: self.random.randrange(1, 30)]
            if not data:
                return ""
        return data.decode("utf-8", self.random.choice(("replace", "ignore", "surrogateescape")))
