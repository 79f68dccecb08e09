"""The programs of `examples/`, from the command line, as a user runs them."""

from pathlib import Path

import pytest

from diffgraph.cli import run

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = sorted(EXAMPLES.glob("*.net"))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_checks(path, capsys):
    assert run(["check", str(path)]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_shows_its_layers(path, capsys):
    assert run(["show", str(path)]) == 0, capsys.readouterr().err
    assert "total" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["line", "xor", "shallow", "bases", "rosenbrock", "double_descent"])
def test_expectations_hold(name, capsys):
    assert run(["test", str(EXAMPLES / f"{name}.net")]) == 0, capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    "approximation", "autoencoder", "conv_as_matrix", "digits_vae", "dropout", "early_stopping", "initialization", "lenet", "light", "overfitting",
    "projectile", "regions", "residual", "shift", "vanishing", "weight_decay",
])  # fmt: skip
def test_larger_expectations_hold(name, capsys):
    assert run(["test", str(EXAMPLES / f"{name}.net")]) == 0, capsys.readouterr().out


def test_counts_of_residual_networks(capsys):
    assert run(["test", str(EXAMPLES / "resnet.net")]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", ["deblur", "siren", "lion", "vit", "rows", "unet", "inception"])
def test_starts_to_train(name, capsys):
    arguments = ["--steps", "2", "--target", "reference"] if name == "deblur" else ["--steps", "2"]
    if name in ("vit", "unet", "inception"):
        pytest.skip("its data set is large: see the slow tests")
    assert run(["train", str(EXAMPLES / f"{name}.net"), "-o", "run", "--quiet", *arguments]) == 0, (
        capsys.readouterr().err
    )
