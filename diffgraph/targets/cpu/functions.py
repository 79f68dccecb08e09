"""float32 functions of our own, without branches, tables or calls, so that loops over them run in vectors.

Errors are the largest found over all of a range, in units of the last place (`tests/targets/test_functions.py` repeats the
measurement): exp 1.0, expm1 1.4, log 0.8, log1p 1.2, tanh 2.4, sigmoid 2.1 (0 below 1.2e-38), softplus 2.0, erf 1.0,
sqrt 0.9, recip 0.6 (0 where it is subnormal), sin and cos 1.6 (for |x| up to 1e6; 1e-7 from there to 1e15, and NaN
beyond). NaN stays NaN; the ends are those of the C library.

Sources: the reductions and polynomials of exp, sin and cos are from Moshier's Cephes; log and log1p follow FreeBSD's msun;
erf follows N. Juffa's erff.
"""

from __future__ import annotations

from llvmlite import ir

from diffgraph.targets.cpu.algebra import Int, Real, declared, polynomial

LOG2_E = 1.44269504088896341
LN2_HIGH = 0.693359375
LN2_LOW = -2.12194440e-4

#: Added to a float32 of moderate size, it leaves the nearest whole number in the low bits.
ROUNDER = 12582912.0


def _halves(x: Real) -> tuple[Real, Real]:
    """(r, n): x = n * ln 2 + r with |r| <= ln 2 / 2, for |x| < 2^21."""
    n = x.fma(LOG2_E, ROUNDER) - ROUNDER
    return n.fma(-LN2_LOW, n.fma(-LN2_HIGH, x)), n


#: A polynomial for (exp(r) - 1 - r) / r^2, the highest power first, for |r| <= ln 2 / 2: the best with five coefficients,
#: 3e-9 of exp(r) away.
_EXP_TAIL = (1.3814769594e-3, 8.3687380144e-3, 4.1668385950e-2, 1.6666520475e-1, 4.9999993457e-1)


def _exp_tail(r: Real) -> Real:
    """(exp(r) - 1 - r) / r^2 for |r| <= ln 2 / 2."""
    return polynomial(r, *_EXP_TAIL)


def _as_int(n: Real) -> Int:
    """A whole number of moderate size as an int."""
    return (n + ROUNDER).bits() - n.constant(ROUNDER).bits()


def _power_of_two(n: Real) -> Real:
    """2^n for whole -127 < n < 128."""
    known = n.constant(1.0).times_power_of_two(n)
    return ((_as_int(n) + 127) << 23).as_float() if known is None else known


def _between(x: Real, low: float, high: float) -> Real:
    """x within bounds; NaN stays."""
    x = x.constant(low).choose(x < low, x)
    return x.constant(high).choose(x > high, x)


def exp(x: Real) -> Real:
    """e^x."""
    r, n = _halves(_between(x, -104.0, 88.8))
    y = (r * r).fma(_exp_tail(r), r) + 1.0
    scaled = y.times_power_of_two(n)
    if scaled is not None:
        return scaled
    n = _as_int(n)
    half = n >> 1
    return y * (((half + 127) << 23).as_float()) * (((n - half + 127) << 23).as_float())


def expm1(x: Real) -> Real:
    """e^x - 1, exact near 0."""
    r, n = _halves(_between(x, -18.0, 88.8))
    tail = (r * r).fma(_exp_tail(r), r)
    scale = _power_of_two(n - 1)
    y = tail.fma(scale, scale - 0.5)
    y = (y + y).constant(float("inf")).choose(x > 88.722839, y + y)
    # Where n is 0 the sum above is the tail itself; adding 0.5 - 0.5 to it would lose the small ones.
    return tail.choose(n == 0.0, y)


def _log_of_normal(u: Real) -> Real:
    """log(u) for a normal u > 0."""
    bits = u.bits() + (0x3F800000 - 0x3F3504F3)
    k = ((bits >> 23) - 127).float()
    f = ((bits & 0x007FFFFF) + 0x3F3504F3).as_float() - 1.0
    s = f.over(f + 2.0)
    z = s * s
    w = z * z
    series = z * w.fma(0.28498786688, 0.66666662693) + w * w.fma(0.24279078841, 0.40000972152)
    half = f * f * 0.5
    return k.fma(LN2_HIGH, k.fma(LN2_LOW, s * (half + series)) - half + f)


def _log_ends(x: Real, y: Real) -> Real:
    """What the logarithm is at 0, below it, at infinity and for NaN."""
    y = y.constant(float("-inf")).choose(x == 0.0, y)
    y = y.constant(float("nan")).choose(x < 0.0, y)
    y = x.choose(x == float("inf"), y)
    return x.choose(x != x, y)


def log(x: Real) -> Real:
    """The natural logarithm."""
    tiny = x < 1.17549435e-38
    normal = (x * 8388608.0).choose(tiny, x)
    y = _log_of_normal(normal)
    return _log_ends(x, (y - 15.942385).choose(tiny, y))


def log1p(x: Real) -> Real:
    """log(1 + x), exact near 0."""
    u = x + 1.0
    lost = (1.0 - (u - x)).choose(x > 1.0, x - (u - 1.0)).over(u)
    y = _log_ends(u, _log_of_normal(u) + lost)
    return x.choose(x == 0.0, y)


def tanh(x: Real) -> Real:
    """The hyperbolic tangent: t / (t + 1) for t = (exp(2 x) - 1) / 2, x = n * ln 2 / 2 + r. From 9.02 on it is 1."""
    size = abs(x)
    size = size.constant(9.1).choose(size > 9.1, size)
    n = size.fma(2 * LOG2_E, ROUNDER) - ROUNDER
    r = n.fma(-LN2_LOW / 2, n.fma(-LN2_HIGH / 2, size))
    tail = (r * r).fma(polynomial(r, *(c * 2.0 ** (5 - n) for n, c in enumerate(_EXP_TAIL))), r)
    scale = _power_of_two(n)
    t = tail.fma(scale, scale.fma(0.5, -0.5))
    return t.over(t + 1.0).with_sign_of(x)


def sigmoid(x: Real) -> Real:
    """1 / (1 + e^-x)."""
    # Where e^-x is a float: beyond, the value is 1, or subnormal.
    r, n = _halves(_between(-x, -87.0, 88.0))
    power = (r * r).fma(_exp_tail(r), r) + 1.0
    return power.fma(_power_of_two(n), 1.0).reciprocal()


def softplus(x: Real) -> Real:
    """log(1 + e^x)."""
    return x.choose(x > 0.0, 0.0) + log1p(exp(-abs(x)))


def erf(x: Real) -> Real:
    """The error function."""
    t, s = abs(x), x * x
    large = t.fma(-1.72853470e-5, 3.83197126e-4).fma(s, t.fma(-3.88396438e-3, 2.42546219e-2))
    for coefficient in (-1.06777877e-1, -6.34846687e-1, -1.28717512e-1):
        large = large.fma(t, coefficient)
    large = (1.0 - exp(large.fma(t, -t))).with_sign_of(x)
    small = polynomial(
        s, -5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1
    ).fma(x, x)
    return large.choose(t > 0.927734375, small)


#: From here on a float64 does not tell the quarters of an angle apart.
FARTHEST_ANGLE = 1e15


def _quarters(x: Real) -> tuple[Real, Int]:
    """(r, n): x = n * pi / 2 + r with |r| <= pi / 4, reduced in float64."""
    wide = x.double()
    rounder = 6755399441055744.0
    shifted = wide.fma(0.63661977236758134, rounder)
    whole = shifted - rounder
    r = whole.fma(-6.12323399573676604e-17, whole.fma(-1.57079632679489656, wide))
    return r.single(), shifted.bits()


def _sine_or_cosine(x: Real, turn: int) -> Real:
    r, n = _quarters(x)
    s = r * r
    sine = (s * r).fma(polynomial(s, -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1), r)
    cosine = (s * s).fma(
        polynomial(s, 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2), s * -0.5 + 1.0
    )
    n = n + turn
    y = cosine.choose((n & 1) == 1, sine)
    y = (-y).choose((n & 2) == 2, y)
    return y.constant(float("nan")).choose(abs(x) > FARTHEST_ANGLE, y)


def sin(x: Real) -> Real:
    """The sine."""
    return _sine_or_cosine(x, 0)


def cos(x: Real) -> Real:
    """The cosine."""
    return _sine_or_cosine(x, 1)


def sqrt(x: Real) -> Real:
    """The square root."""
    return x.root()


def recip(x: Real) -> Real:
    """1 / x."""
    return x.inverse()


#: By the name in the table of scalar functions.
FLOAT32 = {f.__name__: f for f in (exp, expm1, log, log1p, tanh, sigmoid, softplus, erf, sin, cos, sqrt, recip)}


def _lane_by_lane(name: str):
    """A function of the C library, for float64."""

    def function(x: Real) -> Real:
        kind = ir.DoubleType()
        called = declared(x.builder.module, name, ir.FunctionType(kind, (kind,)))
        if not isinstance(x.type, ir.VectorType):
            return Real(x.builder, x.builder.call(called, (x.value,)))
        result = x.value
        for lane in range(x.type.count):
            place = ir.Constant(ir.IntType(32), lane)
            one = x.builder.call(called, (x.builder.extract_element(x.value, place),))
            result = x.builder.insert_element(result, one, place)
        return Real(x.builder, result)

    return function


def _sigmoid64(x: Real) -> Real:
    return 1.0 / (FLOAT64["exp"](-x) + 1.0)


def _softplus64(x: Real) -> Real:
    return x.choose(x > 0.0, 0.0) + FLOAT64["log1p"](FLOAT64["exp"](-abs(x)))


#: The same functions for float64, as accurate as the C library.
FLOAT64 = {name: _lane_by_lane(name) for name in FLOAT32} | {"sigmoid": _sigmoid64, "softplus": _softplus64}
FLOAT64 |= {"sqrt": sqrt, "recip": recip}
