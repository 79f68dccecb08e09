"""Every kernel of the examples, of standard layers and of random programs is compiled and assembled for the devices that
are known: it spills nothing, fits, and computes nothing in float64; and the instructions that are meant are there."""

import os
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from agreement import program_of
from assembly import (
    Job,
    compiled,
    instructions,
    kernels_of,
    kernels_of_file,
    step_as_one_launch,
    training_program,
)
from test_training import NETS

from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.targets.cuda import common

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.net"))

LAYERS = """net layers {
    input x[N, 8, 16, 16]
    input s[N, 12, 16]
    input token[N, 12]: int < 50
    a = x -> batchnorm -> relu -> conv(16, 3, stride = 2, pad = 1) -> groupnorm(4) -> gelu -> maxpool(2) -> flatten
    b = s -> layernorm -> linear(24) -> tanh -> linear(16)
    c = s -> lstm(8)
    d = token -> embedding(50, 16)
    e = x -> conv_transpose(4, 3, stride = 2) -> upsample(2) -> instancenorm -> avgpool(2)
    loss mean((a -> dropout(0.2) -> linear(4))^2) + mean(softmax(b)^2) + mean(c^2) + mean(d * s) + mean(e^2)
}"""

#: Precise sines of large arguments are computed in part in float64 by NVIDIA's library.
OWN_FLOAT64 = re.compile(r"math\.(sin|cos|tan)\(")


#: So many kernels of a file are taken, evenly spread; all with DIFFGRAPH_ALL_KERNELS=1 (some minutes more).
MOST = 16 if os.environ.get("DIFFGRAPH_ALL_KERNELS", "0") == "0" else 1 << 30


def spread(jobs):
    """Distinct kernels, at most so many of them."""
    jobs = list({j.source: j for j in jobs}.values())
    return jobs[:: -(-len(jobs) // MOST)] if len(jobs) > MOST else jobs


def all_jobs():
    """Distinct kernels: for the newer generation those of everything, for the older one those of the layers."""
    jobs = [job for path in EXAMPLES for job in spread(kernels_of_file(path))]
    layers = training_program(elaborate(load_text(LAYERS), training=True))
    for generation in (75, 80):
        jobs += kernels_of(layers, "layers", "f32", generation)
    jobs += [step_as_one_launch(text, 8) for text, _, _ in NETS.values()]
    for name, entry in common.ENTRIES.items():
        jobs.append(Job(name, entry.source, entry.parameters, entry.sizes, common.THREADS, 75))
    return list({(j.source, j.generation): j for j in jobs}.values())


@pytest.fixture(scope="module")
def made():
    """All of them, compiled by as many processes as there are cores."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        return list(pool.map(compiled, all_jobs(), chunksize=4))


def test_nothing_spills_and_everything_fits(made):
    assert len(made) > 200
    for one in made:
        for device, taken in one.resources.items():
            where = f"{one.job.origin} on sm_{device}: {taken}"
            assert taken.spills == 0, where
            assert taken.shared + one.job.shared <= 48 * 1024, where
            assert taken.registers <= 255 and taken.registers * one.job.threads <= 65536, where


def test_nothing_is_computed_in_float64(made):
    for one in made:
        if "float64" in one.job.parameters or OWN_FLOAT64.search(one.job.source):
            continue
        assert not re.search(r"\.f64\b", one.ptx), one.job.origin


def test_nothing_is_called(made):
    for one in made:
        assert not re.search(r"\bcall\b", one.ptx), one.job.origin


@pytest.mark.parametrize("precision, expected", [
    ("f32", {"FFMA"}), ("tf32", {"HMMA.1688.F32.TF32"}), ("bf16", {"HMMA.16816.F32.BF16"}),
])  # fmt: skip
def test_products_use_the_units_that_are_asked_for(precision, expected):
    program = program_of("input x[N, 64]\ninput w[64, 64]\ny[n, u] = sum[d](w[u, d] * x[n, d])\noutput y")
    job = next(job for job in kernels_of(program, "product", precision) if "block_1 = " in job.source)
    found = instructions(compiled(job).code[80])
    if found is None:
        pytest.skip("nvdisasm is not installed")
    assert expected <= found
    assert any(name.startswith("LDGSTS") for name in found)
    assert precision == "f32" or "FFMA" not in found


def test_pointwise_kernels_access_128_bits_at_once():
    (job,) = kernels_of(program_of("input x[N, 64]\ninput z[64]\noutput y = tanh(x) * z"), "pointwise")
    found = instructions(compiled(job).code[90])
    if found is None:
        pytest.skip("nvdisasm is not installed")
    assert any(n.startswith("LDG.E.128") for n in found) and any(n.startswith("STG.E.128") for n in found)
