"""What other libraries call something is known, and the names that the library's comments give are those of nothing here."""

import pytest

from diffgraph.language import library
from diffgraph.language.core_functions import CORE
from diffgraph.language.core_notes import ELSEWHERE
from diffgraph.language.meant import meant
from diffgraph.language.module import standard_library

KNOWN = [*standard_library().declarations, *CORE]


@pytest.mark.parametrize(
    "name, here",
    [
        ("mse_loss", "mse"), ("MSELoss", "mse"), ("mean_squared_error", "mse"), ("l1_loss", "mae"), ("bce", "binary_cross_entropy"),
        ("dense", "linear"), ("fc", "linear"), ("Conv2d", "conv"), ("nll_loss", "nll"), ("BatchNorm2d", "batchnorm"),
        ("categorical_crossentropy", "cross_entropy"), ("MaxPool2d", "maxpool"), ("SGD", "sgd"), ("LeakyReLU", "leaky_relu"),
        ("cat", "concat"), ("topk", "top_k"), ("clip_grad_norm_", "clip_norm"), ("xavier_uniform_", "glorot_uniform"),
        ("lineer", "linear"),
    ],
)  # fmt: skip
def test_a_name_of_another_library(name, here):
    assert meant(name, KNOWN) == f"did you mean `{here}`?"


def test_what_is_not_there_is_not_offered():
    assert meant("mse_loss", ["conv"]) is None


def test_other_names_mean_one_thing():
    elsewhere = [library.plain(n) for names in ELSEWHERE.values() for n in names.split(", ")]
    assert not set(elsewhere) & set(library.elsewhere())
    assert set(library.elsewhere().values()) <= set(standard_library().declarations) and set(ELSEWHERE) <= set(CORE)


def test_what_joins_axes():
    assert library.mending("too many axes") in standard_library().declarations and library.mending("nothing") is None
