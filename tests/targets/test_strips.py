"""Sums over filters larger than the nearest cache, strip by strip."""

from agreement import check, check_bits, program_of

from diffgraph.kernels.loops import Loop, Prefetch, TilePause, When
from diffgraph.passes.pipeline import optimize
from diffgraph.runtime.executable import build

#: A window whose strips are rows of the filter, beside something added; a product that is not cut evenly, with a last
#: group of tiles that is not full; a filter that is read as it is, under another operation than a sum.
PROGRAM = """
    input x[N, 130, 6, 6]
    input z[N, 23, 530]
    input w[530, 320]
    a = x -> conv(130, 3, pad = 1)
    output b = relu(a + x)
    output c = z -> linear(320) -> tanh
    d[n, i, u] = max[k](z[n, i, k] + w[k, u])
    output d"""


def _statements(body):
    for statement in body:
        yield statement
        if isinstance(statement, (Loop, When)):
            yield from _statements(statement.body)


def test_agrees_with_the_interpreter(rng):
    check(program_of(PROGRAM), 1, rng, "f32", optimized=True)


def test_results_are_laid_aside_and_filters_prefetched():
    program = optimize(program_of(PROGRAM))
    kinds = [{type(s) for s in _statements(k.body)} for k in build(program).kernels]
    assert sum(TilePause in found for found in kinds) == 3
    assert sum(Prefetch in found for found in kinds) == 2


def test_bits_do_not_depend_on_threads(rng):
    check_bits(program_of(PROGRAM), 1, rng)
