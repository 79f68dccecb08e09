"""A metric over a set, computed batch by batch, is what it is over the whole set at once."""

import numpy as np
import pytest

from diffgraph.ir.interpret import interpret
from diffgraph.ir.verify import verify
from diffgraph.passes.accumulate import split_over_batch
from examples import program_of

JOIN = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "any": np.logical_or,
    "all": np.logical_and,
}

DECLARED = "input x[N, 4]\ninput z[N, 4]\ntarget t[N]: int < 4\n"

CAN_BE_CUT = {
    "mean": "m = mean((x - z)^2)",
    "psnr": "m = -10 * log10(mean((x - z)^2))",
    "accuracy": "m = accuracy(x, t)",
    "top 2": "m = accuracy(x, t, top = 2)",
    "loss": "m = cross_entropy(x, t)",
    "ratio of sums": "m = sum[n, i](x[n, i] * z[n, i]) / sqrt(sum[n, i](x[n, i]^2) * sum[n, i](z[n, i]^2))",
    "largest": "m = max[n, i](abs(x[n, i])) - min[n](x[n, 0] + 1)",
    "counts by class": "c[v < 4] = sum[n](1 if t[n] == v else 0)\nm = max(c) / sum(c)",
    "any and all": "m = (1 if any[n, i](x[n, i] > 1.5) else 0) + (2 if all[n, i](x[n, i] > -9) else 0)",
    "product": "m = prod[n](1 + 0.1 * x[n, 0])",
    "mean by sample first": "s[n] = mean[i](x[n, i] * z[n, i])\nm = mean(s) + 1",
    "number of samples": "m = sum(x) / x.size + x.size",
}

CANNOT_BE_CUT = {
    "variance in two passes": "m = mean((x - mean(x))^2)",
    "best sample": "m = 1.0 * argmax[n](x[n, 0])",
    "first sample": "m = x[0, 0] + 0",
}


def given(samples, rng):
    x, z = rng.standard_normal((2, samples, 4))
    return {"x": x, "z": z, "t": rng.integers(0, 4, samples)}


@pytest.mark.parametrize("name", CAN_BE_CUT)
def test_batches_give_the_value_of_the_whole(name):
    program = program_of(f"{DECLARED}{CAN_BE_CUT[name]}\noutput m")
    values = given(13, np.random.default_rng(4))
    expected = interpret(program, values)[program.output("m")]
    cut = split_over_batch(program, "N")
    verify(cut.per_batch, "the part for each batch")
    verify(cut.final, "the final part")
    joined: dict[str, np.ndarray] = {}
    for rows in (slice(0, 5), slice(5, 10), slice(10, 13)):
        made = interpret(cut.per_batch, {i.tensor.name: values[i.tensor.name][rows] for i in cut.per_batch.inputs})
        for output in cut.per_batch.outputs:
            value, how = made[output.tensor], JOIN[cut.combine[output.name]]
            joined[output.name] = how(joined[output.name], value) if output.name in joined else value
    known = {i.tensor.name: joined.get(i.path, 13) for i in cut.final.inputs}
    final = interpret(cut.final, known)[cut.final.output("m")]
    np.testing.assert_allclose(final, expected, rtol=1e-12)


@pytest.mark.parametrize("name", CANNOT_BE_CUT)
def test_what_has_no_such_parts_is_left_whole(name):
    program = program_of(f"{DECLARED}{CANNOT_BE_CUT[name]}\noutput m")
    assert split_over_batch(program, "N") is None
