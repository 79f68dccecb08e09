"""Short correlations with fewer multiplications: the matrices of Cook and Toom, made exactly.

    y[i] = sum[p](g[p] * d[i + p])      for m values of i and r values of p

is y = A^T ((G g) * (B^T d)): n = m + r - 1 multiplications instead of m * r (S. Winograd, Arithmetic Complexity of
Computations, 1980; A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, 2016).

The product of two polynomials of degrees m - 1 and r - 1 is known from its values at n points (one of them at infinity):
s = V^-1 ((V_m a) * (V_r b)), V_k being the powers 0 to k - 1 of the points. The transposed map of one of the factors is
the correlation with the other: y = V_m^T ((V_r g) * (V^-T d)).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import gcd, lcm

Matrix = tuple[tuple[Fraction, ...], ...]

#: Finite points, in the order in which they are taken: those whose powers stay small come first.
POINTS = tuple(map(Fraction, ("0", "1", "-1", "2", "-2", "1/2", "-1/2", "3", "-3")))


@dataclass(frozen=True)
class Minimal:
    """The matrices for m results of a filter of length r. data: n x n, of the signal (whole numbers); filter: n x r;
    result: m x n."""

    data: Matrix
    filter: Matrix
    result: Matrix


@cache
def minimal(m: int, r: int) -> Minimal | None:
    """F(m, r); None where there are not enough points."""
    n = m + r - 1
    if n - 1 > len(POINTS):
        return None
    points = POINTS[: n - 1]
    data = _transposed(_inverse(_powers(points, n)))
    scales = [_scale(row) for row in data]
    data = tuple(tuple(x * s for x in row) for row, s in zip(data, scales))
    filters = tuple(tuple(x / s for x in row) for row, s in zip(_powers(points, r), scales))
    return Minimal(data, filters, _transposed(_powers(points, m)))


def _powers(points: tuple[Fraction, ...], count: int) -> Matrix:
    """The powers 0 to count - 1 of each point, the last one being at infinity."""
    rows = [tuple(p**k for k in range(count)) for p in points]
    return (*rows, tuple(Fraction(k == count - 1) for k in range(count)))


def _scale(row: tuple[Fraction, ...]) -> Fraction:
    """What makes the numbers of a row whole, and as small as can be."""
    whole = lcm(*(x.denominator for x in row))
    return Fraction(whole, gcd(*(int(x * whole) for x in row)))


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix))


def _inverse(matrix: Matrix) -> Matrix:
    """By elimination."""
    n = len(matrix)
    rows = [[*row, *(Fraction(i == j) for j in range(n))] for i, row in enumerate(matrix)]
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [x / rows[k][k] for x in rows[k]]
        for i in range(n):
            if i != k and rows[i][k]:
                rows[i] = [x - rows[i][k] * y for x, y in zip(rows[i], rows[k])]
    return tuple(tuple(row[n:]) for row in rows)
