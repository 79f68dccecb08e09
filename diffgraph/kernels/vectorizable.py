"""Which bodies can be computed on vectors: one element of the result in each lane."""

from __future__ import annotations

from functools import lru_cache

from diffgraph.ir.expression import Call, Const, Expr, Read
from diffgraph.ir.form import Form
from diffgraph.ir.scalar import kind_of
from diffgraph.kernels.access import reads

#: Functions that a target can compute on whole vectors.
VECTOR_FUNCTIONS = frozenset(
    "add mul sub neg div recip sqrt abs relu max min exp expm1 log log1p tanh sigmoid softplus erf sin cos powi"
    " stop_gradient float clamp".split()
)

#: Those that compare floats: what they give is a condition, for `where` and for each other.
COMPARISONS = frozenset("eq ne lt le gt ge".split())
CONDITIONS = frozenset("and or not".split())


def is_vectorizable(form: Form) -> bool:
    """Whether a body reads something and gives floats, by functions on vectors."""
    return kind_of(form.body, _kinds(form)) == "float" and bool(reads(form.body)) and _vector_nodes(form.body, form)


@lru_cache(maxsize=1 << 14)
def _vector_nodes(e: Expr, form: Form) -> bool:
    """Whether everything between the root and what is the same for all lanes is a function on vectors of floats."""
    if not e.indices:
        return True
    match e:
        case Read():
            return form.operands[e.slot].kind == "float"
        case Call("powi", (base, power)):
            return type(power) is Const and abs(power.value) < 9 and _vector_nodes(base, form)
        case Call("float", (of,)) if kind_of(of, _kinds(form)) == "bool":
            return _vector_condition(of, form)
        case Call("where", (condition, *values)):
            return _vector_condition(condition, form) and all(_vector_value(a, form) for a in values)
        case Call(function, args) if function in VECTOR_FUNCTIONS:
            return all(_vector_value(a, form) for a in args)
    return False


def _vector_value(e: Expr, form: Form) -> bool:
    return type(e) is Const or kind_of(e, _kinds(form)) == "float" and _vector_nodes(e, form)


def _vector_condition(e: Expr, form: Form) -> bool:
    """Whether a condition can be told for all lanes at once."""
    if not e.indices:
        return True
    match e:
        case Call(function, args) if function in CONDITIONS:
            return all(_vector_condition(a, form) for a in args)
        case Call(function, args) if function in COMPARISONS:
            return all(_vector_value(a, form) for a in args)
    return False


def _kinds(form: Form) -> tuple[str, ...]:
    return tuple(o.kind for o in form.operands)


def is_vectorizable_or_constant(form: Form) -> bool:
    """The same for a body that may read nothing."""
    return kind_of(form.body, _kinds(form)) == "float" and _vector_nodes(form.body, form)
