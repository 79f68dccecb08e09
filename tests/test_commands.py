"""The commands as other programs use them: one JSON document each, the same options everywhere, runs that know their settings."""

import json

import numpy as np
import pytest

import diffgraph as dg
from diffgraph.cli import run
from diffgraph.cli.new import TEMPLATES
from diffgraph.inspect.stages import STAGES

TEXT = """
net a(w = 4) {
    input x[N, 2]; target y[N]
    h = x -> linear(w) -> tanh -> linear(1)
    output o = h[:, 0]; loss mean((h[:, 0] - y)^2)
}
net b { input x[N, 3]; output o = 2 * x }
train a { data table([[0, 0, 1], [1, 2, 3], [2, 3, 1]]); batch 2; epochs 2; optimizer sgd(lr = 0.1) }
expect a { parameters == 17 }
"""
REFERENCE = ["--target", "reference"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.net").write_text(TEXT)
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    np.save(tmp_path / "three.npy", np.ones((1, 3)))
    assert run(["train", "m.net", "-o", "run", "-q", "--set", "w=3", "--set", "lr=0.01", "--epochs", "1", *REFERENCE]) == 0
    return tmp_path


def document(capsys, *command, status=0):
    capsys.readouterr()
    assert run([*command, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_every_command_prints_one_json_document(folder, capsys):
    commands = [
        ["check", ".", "--train", "a", "--weights", "run"], ["test", "m.net", "--seed", "1", *REFERENCE],
        ["fmt", "--check", "m.net"], ["layers"], ["layers", "conv"], ["explain-error", "DG301"], ["new", "c"],
        ["explain", "m.net", "--weights", "run"], ["gradcheck", "m.net", "--weights", "run"],
        ["verify", "m.net", *REFERENCE], ["export", "m.net", "-o", "w.npz", "--weights", "run"],
        ["import", "w.npz", "m.net", "--net", "a"], ["eval", "m.net", "--weights", "run/last.safetensors", *REFERENCE],
        ["compile", "m.net", "-o", "made", "--weights", "run", *REFERENCE], ["predict", "made", "x.npy"],
        ["predict", "m.net", "three.npy", "three.npy", "--net", "b", *REFERENCE],
        ["predict", "m.net", "x.npy", "-o", "o.csv", "--weights", "run", *REFERENCE],
    ]  # fmt: skip
    wrong = {"fmt": 1, "import": 2}
    for command in commands:
        if command[0] == "import":
            assert run([*command, "--json"]) == wrong["import"], "weights of another width do not fit"
        else:
            assert document(capsys, *command, status=wrong.get(command[0], 0)) is not None, command
    assert np.loadtxt("o.csv", delimiter=",").shape == (2,)


def test_every_stage_in_every_form(folder, capsys):
    drawn = ("layers", "forward", "gradient", "optimized", "kernels")
    for stage in STAGES:
        for form in ("json", "svg", "dot", "html"):
            capsys.readouterr()
            status = run(["show", "m.net", "--stage", stage, "--format", form, "--layer", "linear1"])
            shown = capsys.readouterr().out
            assert status == (2 if form in ("svg", "dot") and stage not in drawn else 0)
            assert form != "json" or json.loads(shown)["net"] == "a"
        assert document(capsys, "show", "m.net", "--stage", stage, "--diff", "--layer", "linear2")["stage"] == stage


def test_layers_stand_before_what_is_inside(folder):
    net = dg.loads("layer f()(x[N, D]) { return x -> linear(D) as 0 }\nnet n { input x[N, 2]; output o = x -> f as g }")
    assert [row["path"] for row in json.loads(net.show(format="json"))["layers"]] == ["g", "g.0"]


def test_a_run_knows_its_settings(folder, capsys):
    """Neither resuming nor evaluating asks again for the width, the learning rate and the length of the run."""
    whole = [*("train", "m.net", "--set", "w=3", "--set", "lr=0.01", "--epochs", "4"), *REFERENCE, "-q"]
    assert run([*whole, "-o", "whole"]) == 0
    saved = json.loads((folder / "run" / "settings.json").read_text())
    assert saved["settings"] == {"w": "3"} and saved["fields"] == {"lr": "0.01", "epochs": 1}
    assert run(["train", "m.net", "-o", "run", "--resume", "--epochs", "4", "-q"]) == 0
    ends = [document(capsys, "eval", "m.net", "--weights", name, *REFERENCE)["loss"] for name in ("run", "whole")]
    assert ends[0] == ends[1]
    assert run(["eval", "m.net", "--weights", "run", "--set", "w=5"]) == 2, "what is said now counts"


def test_settings_go_to_the_nets_that_have_them(folder, capsys):
    assert run(["check", "m.net", "--set", "w=8", "-q"]) == 0
    found = document(capsys, "test", "m.net", "--set", "w=8", *REFERENCE, status=1)
    assert found[0]["measured"] == "parameters is 33"
    assert run(["check", "m.net", "--set", "v=8"]) == 2 and "DG230" in capsys.readouterr().err


def test_files_behind_one_that_cannot_be_read_are_tested(folder, capsys):
    (folder / "bad.net").write_text("net bad { output }", encoding="utf-8")
    assert run(["test", "bad.net", "m.net", *REFERENCE]) == 2
    out, err = capsys.readouterr()
    assert "m.net:" in out and "claims hold" in out and "bad.net:1" in err


def test_several_files_are_predicted_one_after_the_other(folder, capsys):
    found = document(capsys, "predict", "m.net", "x.npy", "x.npy", "--weights", "run", *REFERENCE)
    assert len(found["o"]) == 4


def test_help_and_templates(folder, capsys):
    assert run([]) == 2 and "Commands:" in capsys.readouterr().err
    assert run(["help", "train"]) == 0 and "--resume" in capsys.readouterr().out
    for template in TEMPLATES:
        assert run(["new", f"n_{template}", "--template", template, "-q"]) == 0
    assert run(["fmt", "--check", *(f"n_{t}.net" for t in TEMPLATES)]) == 0
    assert run(["check", *(f"n_{t}.net" for t in TEMPLATES), "-q"]) == 0


def test_images_of_every_kind(tmp_path, monkeypatch, capsys):
    image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.net").write_text("net n { input x[N, 1, 4, 4]; m[i] = mean[c, j, k](x[i, c, j, k]); output m }")
    gray = image.fromarray(np.full((9, 7), 128, np.uint8))
    for name, mode in (("a.jpg", "L"), ("b.jpeg", "RGB"), ("c.png", "RGBA"), ("d.bmp", "RGB"), ("e.gif", "P"), ("f.png", "1")):
        gray.convert(mode).save(name)
    image.fromarray(np.full((4, 4), 128 * 257, np.uint16)).save("g.png")
    names = ["a.jpg", "b.jpeg", "c.png", "d.bmp", "e.gif", "g.png"]
    assert np.allclose(document(capsys, "predict", "m.net", *names, *REFERENCE)["m"], 128 / 255, atol=0.01)
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:100])
    assert run(["predict", "m.net", "broken.jpg"]) == 2 and "DG706" in capsys.readouterr().err
