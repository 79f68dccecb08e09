"""The driver, line by line: on a fake of the bindings that takes and gives what the real ones do."""

import inspect
import json
import re

import numpy as np
import pytest
from cuda.bindings import driver as real
from fake_driver import OUTPUTS, FakeDriver, installed

from diffgraph.cli import main
from diffgraph.compiler import Net
from diffgraph.diagnostics import CompilerBug, DiffgraphError
from diffgraph.inspect import bench
from diffgraph.language.module import load_text
from diffgraph.runtime import device, device_launch, device_profile
from diffgraph.targets.cuda.compile import linker_for
from diffgraph.targets.cuda.driver import CudaDriver
from diffgraph.targets.cuda.operations import Launch, Move
from diffgraph.targets.cuda.ptx.parse import parse

NET = """net n { input x[N, 6]; target y[N, 3]; p = x -> linear(8) -> tanh -> linear(3); output p; loss mse(p, y) }
train n { optimizer adam(lr = 1e-2); clip_norm 1.0; batch 8 }"""


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_fake_takes_and_gives_what_the_bindings_do(name):
    theirs, ours = (inspect.signature(getattr(one, name)) for one in (real, FakeDriver))
    assert list(theirs.parameters) == list(ours.parameters)[1:]
    returns = re.search(r"\nReturns\n-------\n(.*?)(\n\n|\Z)", getattr(real, name).__doc__, re.S)
    if returns is not None and "CUresult" in returns.group(1):
        assert len(re.findall(r"^\w+ : ", returns.group(1), re.M)) == OUTPUTS[name]


def trained(steps_in_one_launch, monkeypatch, rng):
    """(the loss after an epoch on a fake, its parameters, the calls of the bindings)."""
    monkeypatch.setattr(device_launch, "MOST_STARTS", 64 if steps_in_one_launch else 0)
    monkeypatch.setattr(device_launch, "WORK_OF_ONE_BLOCK", 0)
    fake = installed(monkeypatch)
    device.use(CudaDriver())
    try:
        net = Net(load_text(NET), target="cuda", seed=2)
        data = rng.standard_normal((20, 6)).astype(np.float32), rng.standard_normal((20, 3)).astype(np.float32)
        net.train(data=data, epochs=1)
        return {path: np.array(a) for path, a in net.parameters.items()}, fake
    finally:
        device.use(None)


def test_training_as_graphs_and_as_one_launch(monkeypatch, rng):
    state = rng.bit_generator.state
    one, fake = trained(True, monkeypatch, rng)
    assert "cuLaunchCooperativeKernel" in fake.calls
    rng.bit_generator.state = state
    many, fake = trained(False, monkeypatch, rng)
    assert fake.calls.count("cuGraphLaunch") >= 2 and "cuLaunchCooperativeKernel" not in fake.calls
    reference = Net(load_text(NET), target="reference", precision="f64", seed=2)
    rng.bit_generator.state = state
    data = rng.standard_normal((20, 6)).astype(np.float32), rng.standard_normal((20, 3)).astype(np.float32)
    reference.train(data=data, epochs=1)
    for path, value in one.items():
        np.testing.assert_array_equal(value, many[path])
        np.testing.assert_allclose(value, reference.parameters[path], 1e-4, 1e-5)


def test_memory_and_copies(monkeypatch, rng):
    installed(monkeypatch)
    driver = CudaDriver()
    x = rng.standard_normal(100).astype(np.float32)
    a, b = driver.allocate(x.nbytes), driver.allocate(x.nbytes)
    driver.upload(a, x)
    driver.program([Move(b, a, 400), Move(b, a, 0)])()
    found = np.zeros_like(x)
    driver.download(b, found)
    np.testing.assert_array_equal(found, x)
    before = driver.room()
    driver.allocate(1 << 20)
    assert driver.room() < before
    driver.free(a)
    driver.program([])()
    assert driver.name == "A Fake" and driver.linked == 80


@pytest.mark.parametrize("options, code", [
    ({"devices": 0}, "DG822"), ({"capability": 70}, "DG823"),
    ({"broken": {"cuInit": real.CUresult.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH}}, "DG821"),
])  # fmt: skip
def test_devices_that_cannot_be_used(options, code, monkeypatch):
    installed(monkeypatch, **options)
    with pytest.raises(DiffgraphError, match=code):
        CudaDriver()


def test_full_memory(monkeypatch):
    installed(monkeypatch, room=1 << 20)
    with pytest.raises(DiffgraphError, match="DG824"):
        CudaDriver().allocate(1 << 24)


def test_a_driver_that_is_too_old(monkeypatch):
    installed(monkeypatch, broken={"cuModuleLoadData": real.CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION})
    with pytest.raises(DiffgraphError, match="DG821"):
        CudaDriver().load(b"code")


def test_a_driver_older_than_the_linker_takes_ptx(monkeypatch, rng):
    """It would refuse machine code of a newer toolkit, and reads PTX of any version that it knows."""
    fake = installed(monkeypatch, version=12040)
    driver = CudaDriver()
    assert driver.linked is None
    net = device_of_its_own(driver, lambda: Net(load_text(NET), target="cuda", seed=2).loss(
        x=rng.standard_normal((20, 6)).astype(np.float32), y=np.zeros((20, 3), np.float32)))
    assert np.isfinite(net) and "cuModuleLoadData" in fake.calls


def device_of_its_own(driver, function):
    device.use(driver)
    try:
        return function()
    finally:
        device.use(None)


@pytest.mark.parametrize("capability, version, linked", [
    (90, 13000, 90), (90, 12080, None), (87, 13010, 87), (100, 13000, 100), (999, 14000, None),
])  # fmt: skip
def test_who_makes_machine_code(capability, version, linked):
    assert linker_for(capability, version) == linked


def test_large_shared_memory_is_asked_for(monkeypatch):
    fake = installed(monkeypatch)
    driver = CudaDriver()
    kernel = parse(".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry kernel()\n{\nret;\n}\n")
    function = fake._handle(real.CUfunction, kernel)
    driver.program([Launch(function, 1, 32, (), (), 64 * 1024)])()
    assert fake.shared == {int(function): 64 * 1024}


def test_a_device_that_another_process_has(monkeypatch):
    installed(monkeypatch, broken={"cuDevicePrimaryCtxRetain": real.CUresult.CUDA_ERROR_DEVICE_UNAVAILABLE})
    with pytest.raises(DiffgraphError, match="DG821"):
        CudaDriver()


def test_what_the_driver_refuses_is_a_bug_of_ours(monkeypatch):
    fake = installed(monkeypatch)
    driver = CudaDriver()
    with pytest.raises(CompilerBug, match="CUDA_ERROR_INVALID_IMAGE"):
        driver.load(b"no code")
    fake.broken["cuLaunchKernel"] = real.CUresult.CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES
    operations = [Launch(real.CUfunction(1), 1, 32, (), ()), Move(4096, 4096, 4)]
    with pytest.raises(CompilerBug, match="CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"):
        driver.program(operations)
    assert fake.capturing is None


def test_parameters_stay_on_the_device(monkeypatch, rng):
    """They cross when the host has changed them, and when it asks; not from epoch to epoch."""
    fake = installed(monkeypatch)
    device.use(CudaDriver())
    try:
        net = Net(load_text(NET), target="cuda", seed=2)
        x, y = rng.standard_normal((20, 6)).astype(np.float32), rng.standard_normal((20, 3)).astype(np.float32)
        first = net.loss(x=x, y=y)
        before = fake.calls.count("cuMemcpyHtoDAsync")
        assert net.loss(x=x, y=y) == first
        assert fake.calls.count("cuMemcpyHtoDAsync") == before + 2  # the inputs
        net.parameters["linear2.bias"] = np.ones(3)
        changed = net.loss(x=x, y=y)
        assert changed != first
        kept = net.parameters["linear1.weight"]
        start = kept.copy()
        net.train(data=(x, y), epochs=1)
        assert not np.array_equal(kept, start), "an array in a person's hands is the net's own"
        assert net.loss(x=x, y=y) != changed
        kept[...] = start
        again = net.loss(x=x, y=y)
        reference = Net(load_text(NET), target="reference", precision="f64", seed=2)
        for path, value in net.parameters.items():
            reference.parameters[path] = value
        assert again == pytest.approx(reference.loss(x=x, y=y), rel=1e-5)
    finally:
        device.use(None)


def test_epochs_of_a_run_upload_parameters_once(monkeypatch, rng):
    installed(monkeypatch)
    driver = CudaDriver()
    shapes = []
    upload = driver.upload
    monkeypatch.setattr(driver, "upload", lambda address, array: (shapes.append(array.shape), upload(address, array))[1])
    device.use(driver)
    try:
        data = rng.standard_normal((16, 6)).astype(np.float32), rng.standard_normal((16, 3)).astype(np.float32)
        Net(load_text(NET), target="cuda", seed=2).train(data=data, epochs=3)
        assert shapes.count((8, 6)) == 3, "a weight and its two moments, once each"
        assert shapes.count((16, 6)) == shapes.count((16, 3)) == 1 + 3, "the data, once, and for each evaluation"
    finally:
        device.use(None)


def test_bench(tmp_path, monkeypatch, capsys):
    """Both modes, kernel by kernel, beside what the device says that it can do."""
    installed(monkeypatch)
    monkeypatch.setattr(device_profile, "TOGETHER", 2)
    monkeypatch.setattr(bench, "PROFILED", 2)
    path = tmp_path / "n.net"
    path.write_text(NET)
    device.use(CudaDriver())
    try:
        with pytest.raises(SystemExit) as end:
            main(["bench", str(path), "--target", "cuda", "--steps", "1", "--json"])
    finally:
        device.use(None)
    assert not end.value.code
    found = json.loads(capsys.readouterr().out)
    assert [m["mode"] for m in found["modes"]] == ["inference", "training"]
    assert all(m["seconds per step"] > 0 and m["profile"] for m in found["modes"])
    assert found["machine"]["flops"] == 2 * 64 * 3 * 1.41e9
