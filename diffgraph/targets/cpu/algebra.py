"""Formulas as LLVM code: floats and ints with Python's operators, for functions that must run in vectors.

    def cube(x):                  x: Real
        return x * x * x

Operations are marked `contract` (a product and a sum may become one) and nothing else. So Numba does not add the flags of
the kernel, and LLVM may not regroup what was written in an order for a reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from llvmlite import binding, ir

FLAGS = ("contract",)
_BITS = {ir.FloatType(): ir.IntType(32), ir.DoubleType(): ir.IntType(64)}
_REALS = {32: ir.FloatType(), 64: ir.DoubleType()}


#: A vector of AVX-512, and the mask of all of its lanes.
_WIDE = ir.VectorType(ir.FloatType(), 16)
_ALL = ir.Constant(ir.IntType(16), -1)
_ZEROS = ir.Constant(_WIDE, [0.0] * 16)

#: Rounding to the nearest, as instructions of AVX-512 are told.
_NEAREST = ir.Constant(ir.IntType(32), 4)

#: What `vfixupimm` makes of each class of a number, four bits each: 0 becomes the number itself, +infinity itself, and of
#: all others nothing is changed.
_ROOT_ENDS = ir.Constant(ir.VectorType(ir.IntType(32), 16), [1 << 8 | 5 << 20] * 16)


@lru_cache
def _has_wide_vectors() -> bool:
    return bool(binding.get_host_cpu_features().get("avx512f"))


def _part(builder, vector, number: int):
    """16 lanes of a vector."""
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), 16), [16 * number + n for n in range(16)])
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), lanes)


def _together(builder, vectors: list):
    """Vectors, a power of two many, one after the other as one."""
    while len(vectors) > 1:
        count = 2 * vectors[0].type.count
        order = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(count)))
        vectors = [builder.shuffle_vector(a, b, order) for a, b in zip(vectors[::2], vectors[1::2])]
    return vectors[0]


def like(kind, element):
    """The type of an element, or of a vector of them where `kind` is one of a vector."""
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def constant(kind, value):
    """A constant of a type; the same in every lane of a vector."""
    return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)


def _element(kind):
    return kind.element if isinstance(kind, ir.VectorType) else kind


class Number:
    """A value of LLVM with the builder that makes more of them."""

    def __init__(self, builder, value):
        self.builder = builder
        self.value = value

    @property
    def type(self):
        return self.value.type

    def _make(self, value):
        return type(self)(self.builder, value)

    def _other(self, other):
        return other.value if isinstance(other, Number) else constant(self.type, other)

    def constant(self, value):
        """A constant of the same type."""
        return self._make(constant(self.type, value))


class Int(Number):
    """An int of 32 or 64 bits."""

    def __add__(self, other):
        return self._make(self.builder.add(self.value, self._other(other)))

    def __sub__(self, other):
        return self._make(self.builder.sub(self.value, self._other(other)))

    def __lshift__(self, count):
        return self._make(self.builder.shl(self.value, self._other(count)))

    def __rshift__(self, count):
        return self._make(self.builder.ashr(self.value, self._other(count)))

    def __and__(self, other):
        return self._make(self.builder.and_(self.value, self._other(other)))

    def __or__(self, other):
        return self._make(self.builder.or_(self.value, self._other(other)))

    def __xor__(self, other):
        return self._make(self.builder.xor(self.value, self._other(other)))

    def __eq__(self, other):
        return self.builder.icmp_signed("==", self.value, self._other(other))

    def __lt__(self, other):
        return self.builder.icmp_signed("<", self.value, self._other(other))

    __hash__ = None

    def float(self):
        """The nearest float of as many bits."""
        return Real(self.builder, self.builder.sitofp(self.value, self._real()))

    def as_float(self):
        """The float with these bits."""
        return Real(self.builder, self.builder.bitcast(self.value, self._real()))

    def _real(self):
        return like(self.type, _REALS[_element(self.type).width])


class Real(Number):
    """A float. Comparisons give conditions for `choose`; all are false where an argument is NaN, but `!=`, which is true."""

    def __add__(self, other):
        return self._make(self.builder.fadd(self.value, self._other(other), flags=FLAGS))

    def __sub__(self, other):
        return self._make(self.builder.fsub(self.value, self._other(other), flags=FLAGS))

    def __rsub__(self, other):
        return self._make(self.builder.fsub(self._other(other), self.value, flags=FLAGS))

    def __mul__(self, other):
        return self._make(self.builder.fmul(self.value, self._other(other), flags=FLAGS))

    def __truediv__(self, other):
        return self._make(self.builder.fdiv(self.value, self._other(other), flags=FLAGS))

    def __rtruediv__(self, other):
        return self._make(self.builder.fdiv(self._other(other), self.value, flags=FLAGS))

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self):
        return self._make(self.builder.fneg(self.value))

    def __abs__(self):
        return self._call("fabs")

    def _compare(self, operator, other):
        compare = self.builder.fcmp_unordered if operator == "!=" else self.builder.fcmp_ordered
        found = compare(operator, self.value, self._other(other), flags=FLAGS)
        return Condition(self.builder, found, self.type)

    def __lt__(self, other):
        return self._compare("<", other)

    def __le__(self, other):
        return self._compare("<=", other)

    def __gt__(self, other):
        return self._compare(">", other)

    def __ge__(self, other):
        return self._compare(">=", other)

    def __eq__(self, other):
        return self._compare("==", other)

    def __ne__(self, other):
        return self._compare("!=", other)

    __hash__ = None

    def choose(self, condition, otherwise) -> Real:
        """This value where the condition (a `Condition`, or a value of LLVM) holds."""
        holds = condition.value if isinstance(condition, Condition) else condition
        return self._make(self.builder.select(holds, self.value, self._other(otherwise)))

    def bits(self) -> Int:
        """Its bits as an int."""
        return Int(self.builder, self.builder.bitcast(self.value, like(self.type, _BITS[_element(self.type)])))

    def fma(self, factor, addend) -> Real:
        """self * factor + addend, rounded once."""
        return self._call("fma", factor, addend)

    @property
    def is_wide(self) -> bool:
        """A vector of AVX-512, which has instructions of its own for some of what follows."""
        kind = self.type
        whole = isinstance(kind, ir.VectorType) and kind.count in (16, 32, 64) and kind.element == ir.FloatType()
        return whole and _has_wide_vectors()

    def over(self, divisor: Real) -> Real:
        """self / divisor, within 1.5 units of the last place: a fifth of the time of a division. The divisor is finite."""
        if not self.is_wide:
            return self / divisor
        inverse = divisor.reciprocal()
        quotient = self * inverse
        return divisor.fma(-quotient, self).fma(inverse, quotient)

    def reciprocal(self) -> Real:
        """1 / self for a finite number that is not 0, within 2 units of the last place; 0 where that is subnormal: an
        estimate and a step of Newton's, in a fifth of the time of a division, where the machine has an estimate for
        vectors."""
        if not self.is_wide:
            return self._make(self.builder.fdiv(constant(self.type, 1.0), self.value, flags=(*FLAGS, "arcp")))
        near = self._wide("rcp14.ps.512", None, _ZEROS, _ALL)
        return (-self).fma(near, 1.0).fma(near, near)

    def inverse(self) -> Real:
        """1 / self for any number, within 0.6 units of the last place where that is not subnormal: the reciprocal of its
        mantissa, times a power of two, which also makes 0 of infinities and infinities of 0."""
        if not self.is_wide:
            return 1.0 / self
        none = ir.Constant(ir.IntType(32), 0)
        mantissa = self._wide("mask.getmant.ps.512", None, none, _ZEROS, _ALL, _NEAREST)
        exponent = self._wide("mask.getexp.ps.512", None, _ZEROS, _ALL, _NEAREST)
        return mantissa.reciprocal().times_power_of_two(-exponent)

    def root(self) -> Real:
        """The square root, within 0.9 units of the last place: an estimate of its reciprocal and a step of Newton's on
        numbers near 1/2, of which none is subnormal, in a third of the time of the instruction for roots."""
        if not self.is_wide:
            return self.intrinsic("sqrt")
        near = self._wide("rsqrt14.ps.512", None, _ZEROS, _ALL)
        root = self * near
        root = root.fma((-root).fma(near * 0.5, 0.5), root)
        none = ir.Constant(ir.IntType(32), 0)
        return root._wide("mask.fixupimm.ps.512", self, _ROOT_ENDS, none, _ALL, _NEAREST)

    def times_power_of_two(self, n: Real) -> Real | None:
        """self * 2^n for whole n, rounded once; None where there is no instruction for that."""
        if not self.is_wide:
            return None
        return self._wide("mask.scalef.ps.512", n, _ZEROS, _ALL, _NEAREST)

    def _wide(self, name: str, other: Real | None, *more) -> Real:
        """An instruction of AVX-512 on 16 lanes after the other."""
        count = self.type.count // 16
        found = []
        for part in range(count):
            arguments = [_part(self.builder, x.value, part) for x in (self, other) if x is not None] + [*more]
            shape = ir.FunctionType(_WIDE, [a.type for a in arguments])
            function = declared(self.builder.module, f"llvm.x86.avx512.{name}", shape)
            found.append(self.builder.call(function, arguments))
        return self._make(_together(self.builder, found))

    def with_sign_of(self, other: Real) -> Real:
        """Its size with the sign of another."""
        return self._call("copysign", other)

    def double(self) -> Real:
        """The same number as a float64."""
        return Real(self.builder, self.builder.fpext(self.value, like(self.type, ir.DoubleType())))

    def single(self) -> Real:
        """The nearest float32."""
        return Real(self.builder, self.builder.fptrunc(self.value, like(self.type, ir.FloatType())))

    def intrinsic(self, name: str, *others) -> Real:
        """llvm.NAME of this value and others."""
        return self._call(name, *others)

    def _call(self, name: str, *others) -> Real:
        shape = ir.FunctionType(self.type, (self.type,) * (1 + len(others)))
        function = declared(self.builder.module, f"llvm.{name}.{_suffix(self.type)}", shape)
        return self._make(self.builder.call(function, [self.value, *(self._other(o) for o in others)]))


@dataclass(frozen=True)
class Condition:
    """True or false, in every lane. `kind`: the type of the numbers that it is about."""

    builder: object
    value: object
    kind: object

    def __and__(self, other: Condition) -> Condition:
        return Condition(self.builder, self.builder.and_(self.value, other.value), self.kind)

    def __or__(self, other: Condition) -> Condition:
        return Condition(self.builder, self.builder.or_(self.value, other.value), self.kind)

    def __invert__(self) -> Condition:
        return Condition(self.builder, self.builder.not_(self.value), self.kind)

    def constant(self, value: float) -> Real:
        """A number of the kind that the condition is about."""
        return Real(self.builder, constant(self.kind, value))

    def real(self) -> Real:
        """1 where it holds, else 0."""
        return self.constant(1.0).choose(self, 0.0)


def declared(module, name: str, shape):
    """The function of a name, declared in the module."""
    return module.globals.get(name) or ir.Function(module, shape, name)


def _suffix(kind) -> str:
    bits = {ir.FloatType(): "f32", ir.DoubleType(): "f64"}[_element(kind)]
    return f"v{kind.count}{bits}" if isinstance(kind, ir.VectorType) else bits


def polynomial(x: Real, *coefficients: float) -> Real:
    """Horner's rule, the highest power first."""
    total = x.constant(coefficients[0])
    for coefficient in coefficients[1:]:
        total = total.fma(x, coefficient)
    return total
