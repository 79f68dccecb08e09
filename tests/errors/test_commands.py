"""Failures of commands: one diagnostic, the right exit status, never a traceback."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest

from diffgraph.cli import main, run

MODEL = """net model(width = 4) {
    input  x[N, 2]
    target y[N, 1]
    output out = x -> linear(width) -> tanh -> linear(1)
    loss   mse(out, y)
}

train model {
    data      csv("points.csv", target = "y")
    epochs    2
    optimizer sgd(lr = 0.1)
}
"""
REFERENCE = ["--target", "reference", "--quiet"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.net").write_text(MODEL)
    (tmp_path / "points.csv").write_text("a,b,y\n1,2,3\n2,3,4\n3,4,5\n4,5,6\n")
    (tmp_path / "holes.csv").write_text("a,b\n1,nan\n")
    return tmp_path


@pytest.fixture
def trained(folder):
    assert run(["train", "model.net", "-o", "run", *REFERENCE]) == 0
    return folder


def failure(capsys, *command, status=2):
    """What a command that fails prints to the standard error stream."""
    capsys.readouterr()
    assert run([str(c) for c in command]) == status
    told = capsys.readouterr().err
    assert "Traceback" not in told and "bug in diffgraph" not in told and told.count("error[DG") == 1, told
    return told


@pytest.mark.parametrize(
    "command, code, told",
    [
        (["trian", "model.net"], "DG900", "did you mean `train`?"),
        (["train", "model.net", "--epohcs", "3"], "DG900", "did you mean `--epochs`?"),
        (["train", "model.net", "--epochs", "0"], "DG900", "x>=1"),
        (["train", "model.net", "--target", "gpu"], "DG900", "'cpu'"),
        (["eval", "model.net"], "DG900", "--weights"),
        (["check"], "DG900", "FILES"),
        (["check", "modle.net"], "DG206", "did you mean `model.net`?"),
        (["show", "modle.net"], "DG206", "did you mean `model.net`?"),
        (["show", "model.net", "--net", "modle"], "DG209", "did you mean `model`?"),
        (["test", "model.net", "--net", "modle"], "DG209", "did you mean `model`?"),
        (["show", "model.net", "--stage", "gradeint"], "DG920", "did you mean `gradient`?"),
        (["show", "model.net", "--layer", "lineer1"], "DG921", "did you mean `linear1`?"),
        (["layers", "relo"], "DG910", "did you mean `relu`?"),
        (["train", "model.net", "--train", "modle"], "DG601", "did you mean `model`?"),
        (["train", "model.net", "--set", "width"], "DG901", "name=value"),
        (["train", "model.net", "--set", "widht=3"], "DG605", "did you mean `width`?"),
        (["train", "model.net", "--set", "bacth=3"], "DG605", "did you mean `batch`?"),
        (["train", "model.net", "--set", "standardize=true"], "DG605", "it is a setting of the data: `data csv("),
        (["train", "model.net", "--set", "batch=two"], "DG201", "batch=two"),
        (["train", "model.net", "--set", "batch=[2"], "DG130", "batch=[2"),
        (["train", "model.net", "--set", "batch=0.5"], "DG604", "batch=0.5"),
        (["train", "model.net", "--set", "optimizer.lrr=1"], "DG230", "did you mean `lr`?"),
        (["train", "model.net", "--set", "data=csv(\"pionts.csv\")"], "DG704", 'did you mean "points.csv"?'),
        (["train", "model.net", "--set", "data=csv(\"holes.csv\")"], "DG702", "`nan`"),
        (["eval", "model.net", "--weights", "none.safetensors"], "DG740", "No such file"),
        (["eval", "model.net", "--weights", "points.csv"], "DG741", "not a whole safetensors file"),
        (["train", "model.net", "--resume", "-o", "none"], "DG748", "no run in none"),
    ],
)
def test_a_command_that_is_wrong(folder, capsys, command, code, told):
    message = failure(capsys, *command)
    assert f"error[{code}]" in message and told in message, message


def test_weights_that_do_not_fit(trained, capsys):
    told = failure(capsys, "eval", "model.net", "--weights", "run/last.safetensors", "--set", "width=8", *REFERENCE)
    assert "DG743" in told and "`linear1.weight` is [4, 2] in the file, [8, 2] in the net" in told and "--set" in told
    told = failure(capsys, "eval", "model.net", "--weights", "run/lst.safetensors", *REFERENCE)
    assert "did you mean `last.safetensors`?" in told
    whole = (trained / "run" / "last.safetensors").read_bytes()
    (trained / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "DG741" in failure(capsys, "eval", "model.net", "--weights", "half.safetensors", *REFERENCE)


def test_inputs_that_are_not_numbers(trained, capsys):
    told = failure(capsys, "predict", "model.net", "holes.csv", "--weights", "run/last.safetensors", *REFERENCE)
    assert "DG702" in told and "holes.csv: row 2" in told
    np.save("x.npy", np.array([[1.0, np.inf]]))
    assert "inf" in failure(capsys, "predict", "model.net", "x.npy", "--weights", "run/last.safetensors", *REFERENCE)


def test_a_loss_that_is_no_number(folder, capsys):
    told = failure(
        capsys, "train", "model.net", "-o", "bad", "--epochs", "2000", "--set", "optimizer.lr=1e30", *REFERENCE, status=1
    )
    assert "DG720" in told and "smaller learning rate" in told


def test_a_full_disk(folder, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    told = failure(capsys, "train", "model.net", "-o", "full", *REFERENCE, status=1)
    assert "DG742" in told and "the disk is full" in told


def test_an_interruption(folder, capsys, monkeypatch):
    from diffgraph.training import loop

    def interrupted(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", interrupted)
    assert run(["train", "model.net", "-o", "stopped", *REFERENCE]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_bug_of_ours_says_so_and_debug_shows_it(folder, capsys, monkeypatch):
    from diffgraph.inspect import check

    def broken(*arguments):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(check, "check_file", broken)
    assert run(["check", "model.net"]) == 1
    told = capsys.readouterr().err
    assert "bug in diffgraph" in told and "planted" in told and "Traceback" not in told
    with pytest.raises(ZeroDivisionError):
        main(["check", "model.net", "--debug"])


def test_check_for_editors(folder, capsys):
    (folder / "wrong.net").write_text("net model {\n    input x[N, 4]\n    output y = x -> liner(3)\n}\n")
    assert run(["check", "wrong.net", "--json"]) == 2
    (report,) = json.loads(capsys.readouterr().out)
    assert report["file"] == "wrong.net" and report["ok"] is False
    (problem,) = report["problems"]
    assert problem == {
        "code": "DG201",
        "severity": "error",
        "message": "`liner` is not known here",
        "file": "wrong.net",
        "range": {"start": {"line": 3, "column": 21}, "end": {"line": 3, "column": 26}},
        "notes": [],
        "repair": "did you mean `linear`?",
    }
