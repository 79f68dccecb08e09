"""The builders of an elaboration: of the whole program, and of bodies inside it."""

from __future__ import annotations

from diffgraph.ir.program import Builder, Input, Tensor


class NamedBuilder(Builder):
    """Builds a program, and remembers how its names came about: (hint, name) for each that was given, (None, name) for
    each that was taken back. `whole` are those that mean the same in the whole program: run scalars and tables."""

    def __init__(self):
        super().__init__()
        self.log: list[tuple[str | None, str]] = []
        self.whole: set[str] = set()
        self.first: dict[str, Tensor] = {}

    def fresh(self, hint: str) -> str:
        name = super().fresh(hint)
        self.log.append((hint, name))
        return name

    def forget(self, name: str) -> None:
        super().forget(name)
        self.log.append((None, name))

    def input(self, hint: str, shape, role: str, **about) -> Tensor:
        tensor = super().input(hint, shape, role, **about)
        self.first.setdefault(role, tensor)
        if role in ("run", "constant"):
            self.whole.add(tensor.name)
        return tensor

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """How many statements, inputs, outputs and names there are."""
        return len(self.statements), len(self.inputs), len(self.outputs), len(self.log)


class BodyBuilder(Builder):
    """Builds a program inside another (the body of a scan, a derivative that the user wrote). Its names are taken
    nowhere around it, so what it captures keeps its name."""

    def __init__(self, parent: Builder):
        super().__init__()
        self.parent = parent
        self.origin = parent.origin

    def is_taken(self, name: str) -> bool:
        return super().is_taken(name) or self.parent.is_taken(name)

    def capture(self, tensor: Tensor) -> None:
        """Makes a tensor from outside a free input."""
        if tensor.name not in self.parent.tensors and isinstance(self.parent, BodyBuilder):
            self.parent.capture(tensor)
        self.tensors[tensor.name] = tensor
        self.inputs.append(Input(tensor, "free", tensor.name))

    def free(self, hint: str, shape, kind: str = "float", bound=None) -> Tensor:
        """A free input of its own: a carry, the index of a step, a cotangent."""
        return self.input(hint, shape, "free", kind=kind, bound=bound)


class ScanBuilder(BodyBuilder):
    """Builds the body of a scan. Its names are given nowhere around it afterwards, so that the instances in it, which
    know their tensors by name, are told from those outside."""

    def fresh(self, hint: str) -> str:
        name = super().fresh(hint)
        self.reserve(name)
        return name

    def reserve(self, name: str) -> None:
        super().reserve(name)
        self.parent.reserve(name)
