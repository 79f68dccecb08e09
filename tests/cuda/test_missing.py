"""What a user is told where something is missing."""

import pytest

from diffgraph.diagnostics import DiffgraphError
from diffgraph.targets.cuda import compile as target
from diffgraph.targets.cuda.driver import CudaDriver


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(target, "_is_there", lambda module: False)
    with pytest.raises(DiffgraphError) as failure:
        target.require()
    assert "DG820" in str(failure.value) and "diffgraph[cuda]" in str(failure.value)


def test_without_a_device():
    try:
        driver = CudaDriver()
    except DiffgraphError as failure:
        assert any(code in str(failure) for code in ("DG821", "DG822"))
    else:
        assert driver.capability >= 75


def test_without_nvvm(monkeypatch):
    """PyTorch brings many of NVIDIA's libraries, but not the compiler's."""
    from cuda import pathfinder

    def missing(name):
        raise pathfinder.DynamicLibNotFoundError(name)

    monkeypatch.setattr(pathfinder, "load_nvidia_dynamic_lib", missing)
    target._without_nvvm.cache_clear()
    try:
        with pytest.raises(DiffgraphError) as failure:
            target.require()
    finally:
        target._without_nvvm.cache_clear()
    assert "DG820" in str(failure.value) and "NVVM" in str(failure.value)
