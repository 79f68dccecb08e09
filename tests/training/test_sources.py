"""Data sources as a train block names them."""

import gzip
import struct
import urllib.error
import urllib.request

import numpy as np
import pytest

from diffgraph.diagnostics import DiffgraphError
from diffgraph.language.blocks import train_block
from diffgraph.language.module import load_text
from diffgraph.training.data import fashion
from diffgraph.training.data.sources import SOURCES, load


def data(text, folder):
    module = load_text(
        f"net n {{ input x[N]; output x }}\ntrain n {{\n    data {text}\n    optimizer lbfgs\n}}", folder=folder
    )
    return load(train_block(module).data, module.folder)


def test_formulas_draw_and_compute_in_order(tmp_path):
    made = data("function(n = 256, x = uniform(-3, 3), y = sin(2 * x), z = y + normal(0, 0.1), one = 1)", tmp_path)
    x, y, z, one = (made.columns[name] for name in ("x", "y", "z", "one"))
    assert x.shape == (256,) and -3 <= x.min() and x.max() < 3 and x.std() > 1.5
    assert np.allclose(y, np.sin(2 * x)) and 0.05 < (z - y).std() < 0.2 and np.all(one == 1)


def test_each_draw_is_its_own_and_the_seed_decides(tmp_path):
    text = "function(n = 50, a = normal(0, 1), b = normal(0, 1), c = normal(0, 1) - normal(0, 1){})"
    made = data(text.format(""), tmp_path).columns
    again, other = data(text.format(""), tmp_path).columns, data(text.format(", seed = 1"), tmp_path).columns
    assert not np.allclose(made["a"], made["b"]) and np.abs(made["c"]).max() > 0
    assert all(np.array_equal(made[k], again[k]) and not np.allclose(made[k], other[k]) for k in made)


def test_functions_of_the_file_are_formulas_too(tmp_path):
    module = load_text(
        "fn wave(x, k = 2) = sin(k * x)\nnet n { input x[N]; output x }\n"
        "train n { data function(n = 5, x = uniform, y = wave(x, k = 3)); optimizer lbfgs }"
    )
    made = load(train_block(module).data, tmp_path).columns
    assert np.allclose(made["y"], np.sin(3 * made["x"]))


def test_sources_of_sources(tmp_path):
    made = data("denoise(digits(size = 8), noise = 0.2)", tmp_path)
    assert list(made.columns) == ["noisy", "clean"] and made.columns["clean"].shape == (1438, 1, 8, 8)
    scaled = data("standardize(digits(size = 8))", tmp_path)
    assert abs(scaled.columns["image"].mean()) < 1e-5


def test_any_source_may_be_split_and_scaled(tmp_path):
    made = data("plane(n = 100, split = 1/4, standardize = true)", tmp_path)
    assert len(made.columns["x"]) == 75 and len(made.test["x"]) == 25
    assert np.allclose(made.columns["x"].std(axis=0), 1) and not np.allclose(made.columns["y"].std(axis=0), 1)


def test_files_of_the_program(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,kind\n1,2,x\n3,4,y\n")
    assert data('csv("t.csv", target = "kind")', tmp_path).columns["kind"].tolist() == [0, 1]
    np.savez(tmp_path / "d.npz", x=np.ones(3))
    assert data('npz("d.npz")', tmp_path).columns["x"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "text, message",
    [
        ("digit", "DG700.*no data source `digit`(.|\n)*did you mean `digits`"),
        ("digits(sise = 8)", "DG701.*no setting `sise`(.|\n)*did you mean `size`"),
        ('digits(size = "a")', "DG701.*`size` of `digits` is an int, not 'a'"),
        ("digits(8, 0.2, 0, 3)", "takes 3 settings, not 4"),
        ("digits(8, size = 8)", "is given `size` twice"),
        ("csv()", "`csv` needs `file`"),
        ("function(x = uniform)", "`function` needs `n`"),
        ("function(n = 5)", "needs a formula for each column"),
        ("function(n = 5, y = 2 * z)", "`z` is not known"),
        ("spiral(n = 0)", "0 samples"),
        ('npz("../d.npz")', "outside the directory"),
        ('npz("d.npz")', 'no file or folder "d.npz"'),
        ("table([[1, 2], [3, inf]])", r"column `column 2` holds inf at \[1\]"),
        ("xor(split = 2)", "not a share"),
        ("digits(split = 0.2, standardize = 3)", "`standardize` of `digits` is true or false"),
    ],
)
def test_mistakes_name_the_place_and_a_repair(tmp_path, text, message):
    with pytest.raises(DiffgraphError, match=message) as caught:
        data(text, tmp_path)
    assert caught.value.diagnostics[0].span.line == 3


def test_every_source_says_what_it_is():
    for name, source in SOURCES.items():
        lines = source.__doc__.splitlines()
        assert lines[0].endswith(".") and lines[-1].strip().startswith(f"data {name}"), name


# ---------------------------------------------------------------- Fashion-MNIST


def idx(array):
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Files like those of Fashion-MNIST, of two images; no system folders."""
    import hashlib

    files = {}
    for name in fashion.CONTENT:
        array = np.arange(2) if "idx1" in name else np.full((2, 28, 28), 255)
        files[name] = idx(array)
    monkeypatch.setattr(fashion, "CONTENT", {n: hashlib.sha256(c).hexdigest() for n, c in files.items()})
    monkeypatch.setattr(fashion, "system_datasets", lambda: [tmp_path / "system"])
    monkeypatch.setattr(fashion, "cached_datasets", lambda: tmp_path / "cache")
    return files


def place(files, folder):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))


@pytest.mark.parametrize("where", ["system", "cache"])
def test_fashion_mnist_of_the_machine(tiny, tmp_path, where):
    place(tiny, tmp_path / where / "fashion-mnist")
    found = data("fashion_mnist", tmp_path)
    assert found.columns["image"].shape == (2, 1, 28, 28) and found.columns["image"].max() == 1
    assert found.test["label"].tolist() == [0, 1] and len(found.classes["label"]) == 10


class Answer:
    def __init__(self, content):
        self.content = content

    def read(self):
        return self.content

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_fashion_mnist_is_downloaded_and_verified(tiny, tmp_path, monkeypatch):
    asked = []

    def urlopen(address, timeout):
        asked.append(address)
        return Answer(gzip.compress(tiny[address.rpartition("/")[2].removesuffix(".gz")]))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    assert len(data("fashion_mnist", tmp_path)) == 2 and len(asked) == 4
    data("fashion_mnist", tmp_path)
    assert len(asked) == 4, "what is there is not fetched again"


@pytest.mark.parametrize("content", [b"<html>", gzip.compress(b"something else")])
def test_a_wrong_download_is_refused_and_not_kept(tiny, tmp_path, monkeypatch, content):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Answer(content))
    with pytest.raises(DiffgraphError, match="DG707.*(damaged|another content)(.|\n)*apt install"):
        data("fashion_mnist", tmp_path)
    assert not list((tmp_path / "cache").rglob("*ubyte*"))


def test_without_a_network_it_says_how_to_get_it(tiny, tmp_path, monkeypatch):
    def urlopen(*_, **__):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(
        DiffgraphError, match="could not be downloaded .no route.(.|\n)*apt install dataset-fashion-mnist"
    ):
        data("fashion_mnist", tmp_path)
