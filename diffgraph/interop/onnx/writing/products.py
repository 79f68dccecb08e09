"""Sums of products of factors: matrix products, and Einstein sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_letters

from diffgraph.interop.onnx.writing.forms import FormWriter, Written
from diffgraph.ir.evaluate import result_kind
from diffgraph.ir.expression import Expr
from diffgraph.ir.factors import conditions_and_factors


@dataclass(frozen=True)
class Product:
    """A sum over `summed` of the product of `factors`, times `scales`, which have no index. `order`: the indices that
    are left, as the axes of the result have them."""

    factors: tuple[Expr, ...]
    scales: tuple[Expr, ...]
    order: tuple[int, ...]
    summed: tuple[int, ...]

    @property
    def rows_and_columns(self) -> tuple[Expr, Expr] | None:
        """The factors of a matrix product [..., m, k] times [..., k, n], if it is one: one index is summed, and the last
        of the result is one of the second factor only."""
        if len(self.factors) != 2 or len(self.summed) != 1 or not self.order:
            return None
        last, (k,) = self.order[-1], self.summed
        second = next((f for f in self.factors if last in f.indices), None)
        first = self.factors[1] if second is self.factors[0] else self.factors[0]
        if second is None or last in first.indices or not k in first.indices & second.indices:
            return None
        batch = [i for i in self.order if i in first.indices & second.indices]
        rows = [i for i in self.order if i in first.indices - second.indices]
        fits = second.indices == {*batch, k, last} and list(self.order) == [*batch, *rows, last]
        return (first, second) if fits and (not batch or len(rows) == 1) else None

    def write(self, forms: FormWriter) -> Written:
        """The tensor."""
        graph, form = forms.graph, forms.form
        pair = self.rows_and_columns
        value = self._matrix_product(forms, *pair) if pair else self._einstein_sum(forms)
        for scale in self.scales:
            value = graph.node("Mul", value, forms.cast(scale, "float"))
        value = graph.transpose(value, [self.order.index(k) for k in sorted(self.order)])
        written = sorted(form.written)
        value = graph.unsqueeze(value, [at for at, k in enumerate(written) if k not in self.order])
        return forms.written(value, frozenset(self.order))

    def _matrix_product(self, forms: FormWriter, first: Expr, second: Expr) -> str:
        graph, last, (k,) = forms.graph, self.order[-1], self.summed
        (a, axes_a), (b, axes_b) = _narrow(forms, first), _narrow(forms, second)
        a = graph.transpose(a, [axes_a.index(i) for i in (*(i for i in self.order if i in first.indices), k)])
        batch = [i for i in self.order if i in first.indices & second.indices]
        b = graph.transpose(b, [axes_b.index(i) for i in (*batch, k, last)])
        return graph.node("MatMul", a, b)

    def _einstein_sum(self, forms: FormWriter) -> str:
        operands = [_narrow(forms, f) for f in self.factors]
        left = ",".join("".join(ascii_letters[k] for k in axes) for _, axes in operands)
        right = "".join(ascii_letters[k] for k in self.order)
        return forms.graph.node("Einsum", *(value for value, _ in operands), equation=f"{left}->{right}")


def find_product(forms: FormWriter) -> Product | None:
    """The form as a sum of products, if it is one of factors with different indices."""
    form = forms.form
    conditions, factors = conditions_and_factors(form.body)
    if form.op != "sum" or not form.reduced or conditions or result_kind(form) != "float":
        return None
    varying = tuple(f for f in factors if f.indices)
    present = frozenset().union(*(f.indices for f in varying))
    alike = len({f.indices for f in varying}) == 1
    if len(varying) < 2 or alike or not present.issuperset(form.reduced):
        return None
    stretches = forms.stretches()
    order = sorted(form.written) if stretches is None else [s.index for s in stretches if s.index is not None]
    scales = tuple(f for f in factors if not f.indices)
    return Product(varying, scales, tuple(k for k in order if k in present), form.reduced)


def _narrow(forms: FormWriter, factor: Expr) -> tuple[str, Sequence[int]]:
    """A factor without the axes that do not occur in it, and the indices of those that do."""
    own = sorted(factor.indices)
    absent = [k for k in range(len(forms.form.domain)) if k not in own]
    return forms.graph.squeeze(forms.ranked(factor, "float"), absent), own
