"""Values of the special functions on NumPy arrays: accurate to the last digits of float64, quiet at the ends.

float32 arguments are computed in float64 and given back as float32.
"""

from __future__ import annotations

import functools
import math

import numpy as np


def _in_float64(function):
    """Computes in float64, gives back the type it was given (ints become float64)."""

    @functools.wraps(function)
    def wrapped(x):
        x = np.asarray(x)
        result = function(x.astype(np.float64))
        return result.astype(x.dtype) if x.dtype.kind == "f" else result

    return wrapped


def sigmoid(x):
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def softplus(x):
    """log(1 + exp(x)), without overflow and without cancellation."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def power(x, n):
    """x to an int power by repeated multiplication: x^0 is 1 everywhere, and negative powers are reciprocals.

    An int to a negative power is the reciprocal towards zero: 0 except for 1 and -1.
    """
    x, n = np.broadcast_arrays(x, n)
    if x.dtype.kind != "f":
        x = x.astype(np.int64)
    result, base, left = np.ones_like(x), x, np.abs(n)
    while np.any(left):
        result = np.where(left & 1, result * base, result)
        left = left >> 1
        base = base * base
    if x.dtype.kind == "f":
        return np.where(n < 0, 1 / result, result)
    return np.where(n < 0, np.where(np.abs(result) == 1, result, 0), result)


# W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969); constants of CALERF.
_ERF_SMALL = (
    (
        1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)  # fmt: skip
_ERF_MIDDLE = (
    (
        2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
        2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
        3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
    ),
)  # fmt: skip
_ERF_LARGE = (
    (
        1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
        1.60837851487422766e-2, 6.58749161529837803e-4,
    ),
    (
        1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
        2.33520497626869185e-3,
    ),
)  # fmt: skip


def _ratio(coefficients, x):
    above, below = coefficients
    return np.polyval(above, x) / np.polyval(below, x)


@_in_float64
def erf(x):
    """The error function."""
    size = np.abs(x)
    square = size * size
    small = x * _ratio(_ERF_SMALL, np.minimum(square, 1))
    # exp(-x^2) loses digits when x^2 is rounded first: split x so that the leading square is exact.
    lead = np.trunc(np.minimum(size, 30) * 16) / 16
    decay = np.exp(-lead * lead) * np.exp(-(np.minimum(size, 30) - lead) * (np.minimum(size, 30) + lead))
    middle = 1 - decay * _ratio(_ERF_MIDDLE, np.minimum(size, 4))
    inverse = 1 / np.maximum(square, 1)
    tail = (1 / np.sqrt(np.pi) - inverse * _ratio(_ERF_LARGE, inverse)) / np.maximum(size, 1)
    large = np.where(size > 6, 1, 1 - decay * tail)
    result = np.where(size <= 0.46875, small, np.copysign(np.where(size <= 4, middle, large), x))
    return np.where(np.isnan(x), x, result)


# M. J. Wichura, Algorithm AS 241: the percentage points of the normal distribution, Appl. Statist. 37 (1988), PPND16.
# Its three quotients are written out so that NumPy and the kernels of every target run the same arithmetic.


def quantile_centre(r):
    """normal_quantile(p) / (p - 1/2) for r = 0.425^2 - (p - 1/2)^2 >= 0."""
    above = 2.5090809287301226727e3
    above = (above * r + 3.3430575583588128105e4) * r + 6.7265770927008700853e4
    above = (above * r + 4.5921953931549871457e4) * r + 1.3731693765509461125e4
    above = (above * r + 1.9715909503065514427e3) * r + 1.3314166789178437745e2
    above = above * r + 3.3871328727963666080e0
    below = 5.2264952788528545610e3
    below = (below * r + 2.8729085735721942674e4) * r + 3.9307895800092710610e4
    below = (below * r + 2.1213794301586595867e4) * r + 5.3941960214247511077e3
    below = (below * r + 6.8718700749205790830e2) * r + 4.2313330701600911252e1
    below = below * r + 1.0
    return above / below


def quantile_middle(r):
    """|normal_quantile(p)| for 0 <= sqrt(-log(min(p, 1 - p))) <= 5, r being that less 1.6."""
    above = 7.74545014278341407640e-4
    above = (above * r + 2.27238449892691845833e-2) * r + 2.41780725177450611770e-1
    above = (above * r + 1.27045825245236838258e0) * r + 3.64784832476320460504e0
    above = (above * r + 5.76949722146069140550e0) * r + 4.63033784615654529590e0
    above = above * r + 1.42343711074968357734e0
    below = 1.05075007164441684324e-9
    below = (below * r + 5.47593808499534494600e-4) * r + 1.51986665636164571966e-2
    below = (below * r + 1.48103976427480074590e-1) * r + 6.89767334985100004550e-1
    below = (below * r + 1.67638483018380384940e0) * r + 2.05319162663775882187e0
    below = below * r + 1.0
    return above / below


def quantile_tail(r):
    """|normal_quantile(p)| further out, r being sqrt(-log(min(p, 1 - p))) less 5."""
    above = 2.01033439929228813265e-7
    above = (above * r + 2.71155556874348757815e-5) * r + 1.24266094738807843860e-3
    above = (above * r + 2.65321895265761230930e-2) * r + 2.96560571828504891230e-1
    above = (above * r + 1.78482653991729133580e0) * r + 5.46378491116411436990e0
    above = above * r + 6.65790464350110377720e0
    below = 2.04426310338993978564e-15
    below = (below * r + 1.42151175831644588870e-7) * r + 1.84631831751005468180e-5
    below = (below * r + 7.86869131145613259100e-4) * r + 1.48753612908506148525e-2
    below = (below * r + 1.36929880922735805310e-1) * r + 5.99832206555887937690e-1
    below = below * r + 1.0
    return above / below


@_in_float64
def normal_quantile(p):
    """The value below which a standard normal falls with probability p; -inf at 0, inf at 1, NaN outside."""
    q = p - 0.5
    centre = q * quantile_centre(np.maximum(0.180625 - q * q, 0))
    reach = np.sqrt(-np.log(np.clip(np.minimum(p, 1 - p), 1e-320, 0.5)))
    outer = np.where(reach <= 5, quantile_middle(reach - 1.6), quantile_tail(reach - 5))
    result = np.where(np.abs(q) <= 0.425, centre, np.copysign(outer, q))
    result = np.where((p == 0) | (p == 1), np.copysign(np.inf, q), result)
    return np.where((p >= 0) & (p <= 1), result, np.nan)


def normal_quantile_scalar(p):
    """`normal_quantile` of one float, for kernels."""
    q = p - 0.5
    if abs(q) <= 0.425:
        return q * quantile_centre(0.180625 - q * q)
    if p == 0 or p == 1:
        return math.copysign(math.inf, q)
    if not 0 < p < 1:
        return math.nan
    reach = math.sqrt(-math.log(min(p, 1 - p)))
    size = quantile_middle(reach - 1.6) if reach <= 5 else quantile_tail(reach - 5)
    return math.copysign(size, q)
