"""The buffers of a kernel: which are loaded, stores that nobody needs, other numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from diffgraph.ir.expression import Affine, Call, Expr
from diffgraph.kernels.loops import (
    Address,
    Best,
    Contraction,
    Inside,
    Lanes,
    Let,
    Load,
    Loop,
    Prefetch,
    Product,
    Statement,
    Store,
    TileLoad,
    TilePause,
    TileStart,
    TileStep,
    TileStore,
    Update,
    When,
)


def collect_loads(value, found: set[int]) -> None:
    """Adds to `found` every buffer that statements load from, or join to."""
    stack = [value]
    seen = set()
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack.extend(item)
        elif isinstance(item, Expr):
            if item in seen:
                continue
            seen.add(item)
            if type(item) is Load:
                found.add(item.buffer)
            stack.extend(item.children)
        elif isinstance(item, TileLoad):
            found.add(item.buffer)
            stack.extend((item.address.terms, item.inside))
        elif isinstance(item, TileStore):
            places = tuple(to.address.terms for _, to in item.stores)
            stack.extend((item.operands, item.values, item.active, places))
        elif isinstance(item, Store):
            if item.op is not None:
                found.add(item.buffer)
            stack.extend((item.value, tuple(a for a, _ in item.address.terms), item.conditions))
        elif hasattr(item, "__dataclass_fields__"):
            stack.extend(getattr(item, f) for f in item.__dataclass_fields__)


def without_stores(body: tuple[Statement, ...], loaded: set[int]) -> tuple[Statement, ...]:
    """The statements without stores to any other buffer."""
    result = []
    for statement in body:
        if isinstance(statement, Store) and statement.buffer not in loaded:
            continue
        if isinstance(statement, (Loop, When, Contraction)):
            inner = without_stores(statement.body, loaded)
            if not inner:
                continue
            statement = replace(statement, body=inner)
        if isinstance(statement, TileStore):
            statement = replace(statement, stores=tuple(s for s in statement.stores if s[1].buffer in loaded))
        result.append(statement)
    return tuple(result)


def renumbered(body: tuple[Statement, ...], numbers: Mapping[int, int]) -> tuple[Statement, ...]:
    """The statements with other numbers for buffers."""
    return Rewriter(numbers).statements(body)


class Rewriter:
    """Statements with other numbers for buffers; what is made of it may change addresses too."""

    def __init__(self, numbers: Mapping[int, int]):
        self.numbers = numbers
        self._done: dict[Expr, Expr] = {}

    def statements(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        return tuple(self._statement(s) for s in body)

    def _statement(self, s: Statement) -> Statement:
        match s:
            case Loop():
                start = None if s.start is None else self.expression(s.start)
                return replace(s, body=self.statements(s.body), start=start)
            case Let():
                return Let(s.local, self.expression(s.value))
            case Update():
                return Update(s.local, s.op, self.expression(s.value))
            case Best():
                return replace(s, value=self.expression(s.value), at=self.expression(s.at))
            case Store():
                conditions = tuple(self._condition(c) for c in s.conditions)
                place, value = self.address(s.address), self.expression(s.value)
                return Store(self.numbers[s.buffer], place, value, s.op, conditions)
            case TileStart() | TilePause():
                return s
            case Prefetch(buffer, place):
                return Prefetch(self.numbers[buffer], self.address(place))
            case TileStep():
                return replace(s, operands=self._operands(s.operands), active=self._lanes(s.active))
            case TileStore():
                stores = tuple((number, self._tile_load(t)) for number, t in s.stores)
                return replace(s, operands=self._operands(s.operands), stores=stores, active=self._lanes(s.active))
            case Contraction():
                products = tuple(Product(p.depth, *map(self.expression, (p.left, p.right))) for p in s.products)
                return replace(s, products=products, body=self.statements(s.body))
        return replace(s, condition=self.expression(s.condition), body=self.statements(s.body))

    def _operands(self, operands):
        return tuple(self._tile_load(o) if isinstance(o, TileLoad) else self.expression(o) for o in operands)

    def _tile_load(self, t: TileLoad) -> TileLoad:
        return replace(t, buffer=self.numbers[t.buffer], address=self.address(t.address), inside=self._lanes(t.inside))

    def _lanes(self, lanes: Lanes | None) -> Lanes | None:
        if lanes is None:
            return None
        low, high = (None if e is None else self.expression(e) for e in (lanes.low, lanes.high))
        return Lanes(low, high, lanes.columns_go_on)

    def _condition(self, c: Inside) -> Inside:
        return Inside(self.expression(c.place), c.extent)

    def address(self, a: Address) -> Address:
        return Address(a.constant, tuple((self.expression(atom), f) for atom, f in a.terms))

    def expression(self, e: Expr) -> Expr:
        found = self._done.get(e)
        if found is None:
            found = self._done[e] = self._expression(e)
        return found

    def _expression(self, e: Expr) -> Expr:
        match e:
            case Load():
                otherwise = None if e.otherwise is None else self.expression(e.otherwise)
                conditions = tuple(self._condition(c) for c in e.conditions)
                return Load(self.numbers[e.buffer], self.address(e.address), conditions, otherwise)
            case Call(function, args):
                return Call(function, tuple(self.expression(a) for a in args))
            case Affine(constant, terms):
                return Affine(constant, tuple((self.expression(a), c) for a, c in terms))
        return e
