"""What was made of programs is kept on disk: found again whole, and never in place of something else."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import diffgraph as dg
from diffgraph.ir.dimension import symbol
from diffgraph.language.module import load_module, load_text
from diffgraph.passes.pipeline import optimize
from diffgraph.runtime.cache import Cache
from diffgraph.runtime.kept import SUFFIX, Kept, content

TEXT = """
net small {
    input x[N, 3, 8, 8]
    target y[N]: int < 4
    z = x -> conv(8, 3, pad = 1) -> batchnorm -> relu -> dropout -> flatten -> linear(4)
    output z
    loss cross_entropy(z, y)
}"""


@pytest.fixture
def store(tmp_path):
    return Kept(Cache(tmp_path))


def recalled(store, value, *of):
    """(what recall gives, how often it was made)"""
    made = []

    def make():
        made.append(value)
        return value

    return store.recall("test", of, make, lambda _: True), len(made)


def test_a_network_comes_back_whole(store):
    network = dg.loads(TEXT).network(True)
    assert recalled(store, network, 1) == (network, 1)
    found, made = recalled(store, None, 1)
    assert made == 0 and content(found) == content(network)
    forms = [t.form for s in network.program.statements for t in getattr(s, "terms", ())]
    again = [t.form for s in found.program.statements for t in getattr(s, "terms", ())]
    assert all(a is b for a, b in zip(forms, again, strict=True))
    assert content(optimize(found.program)) == content(optimize(network.program))


def test_content_tells_what_is_equal():
    size = symbol("N")
    values = [1, 1.0, True, "1", (1,), [1], (), Fraction(1), None, size, size * 2, np.ones(2), np.ones(2, np.float32)]
    assert len({content(v) for v in values}) == len(values)
    assert content((size + 1, {"a": 2})) == content((symbol("N") + 1, {"a": 2}))


def test_what_has_no_content_is_not_kept(store):
    assert [recalled(store, 5, lambda: 1)[1] for _ in range(2)] == [1, 1]


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_damaged_files_are_made_again(store, damage):
    recalled(store, (1, 2), "a")
    (file,) = store.cache.directory.rglob(f"*{SUFFIX}")
    file.write_bytes(damage(file.read_bytes()))
    assert [recalled(store, (1, 2), "a")[1] for _ in range(2)] == [1, 0]


def test_nothing_but_values_is_read(store, tmp_path):
    """A file that would call a function is taken for missing."""

    class Call:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "called"),)

    recalled(store, Call(), "b")
    assert recalled(store, 7, "b") == (7, 1)
    assert not (tmp_path / "called").exists()


def test_the_oldest_make_room(store):
    for number in range(4):
        recalled(store, number, number)
    store.cache.trim(SUFFIX, 2)
    assert len(list(store.cache.directory.rglob(f"*{SUFFIX}"))) == 2


def test_texts_of_a_file_are_all_that_it_imports(tmp_path):
    (tmp_path / "a.net").write_text('from "b.net" import wide\nnet n { input x[N, 3]\n output y = x -> wide }\n')
    (tmp_path / "b.net").write_text("layer wide()(x) { return x -> linear(8) }\n")
    before = content(load_module(tmp_path / "a.net").texts)
    assert content(load_module(tmp_path / "a.net").texts) == before
    (tmp_path / "b.net").write_text("layer wide()(x) { return x -> linear(9) }\n")
    assert content(load_module(tmp_path / "a.net").texts) != before
    assert load_text('net n { input x[N, 3]\n output y = x @ constant("t.npy") }', folder=tmp_path).texts is None


def test_a_second_process_finds_what_the_first_one_made(tmp_path):
    """A program large enough to be kept is elaborated once, and computes the same."""
    script = """
import numpy as np, diffgraph as dg
from diffgraph import compilation
made, real = [], compilation.elaborate
compilation.elaborate = lambda *a, **k: made.append(1) or real(*a, **k)
net = dg.loads("net n { input x[N, 4]; h = x; for i in 0..90 { h = tanh(h + i) * x }; output h }", target="reference")
print(net(x=np.arange(8.0).reshape(2, 4) / 8)["h"].tobytes().hex(), len(made))
"""
    environment = {**os.environ, "DIFFGRAPH_CACHE": str(tmp_path), "PYTHONHASHSEED": "random"}
    environment["PYTHONPATH"] = str(Path(dg.__file__).parents[1])
    command = [sys.executable, "-c", script]
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    (first, made), (second, again) = (run.stdout.split() for run in runs)
    assert first == second and (made, again) == ("2", "0")


def test_a_schedule_is_made_once(monkeypatch, store):
    from diffgraph.runtime import native

    monkeypatch.setattr(native, "kept", lambda: store)
    monkeypatch.setattr(native, "LARGE", 1)
    made, real = [], native.schedule
    monkeypatch.setattr(native, "schedule", lambda *a: made.append(1) or real(*a))
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    results = [dg.loads("net n { input x[N, 3]; output y = softmax(x) }")(x=x)["y"] for _ in range(2)]
    assert len(made) == 1 and results[0].tobytes() == results[1].tobytes()


def test_draws_of_a_kernel_are_those_of_the_interpreter():
    from diffgraph.ir import random
    from diffgraph.runtime.library import default_library

    elements = np.arange(5, 200_000, 3)
    plain = random.uniform(2**40 + 3, 1, 77, elements)
    with random.drawing(default_library().drawing()):
        assert random.uniform(2**40 + 3, 1, 77, elements).tobytes() == plain.tobytes()
