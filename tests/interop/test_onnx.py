"""ONNX models as nets, against ONNX's own cases: what is imported computes the same, the rest is refused by name."""

import warnings
from collections import Counter

import numpy as np
import pytest

import diffgraph as dg
from diffgraph.cli import run
from diffgraph.interop.onnx.graph import graph_of
from diffgraph.interop.onnx.importing import text_of
from diffgraph.interop.onnx.operators import OPERATORS
from diffgraph.language.names import taken_everywhere

onnx = pytest.importorskip("onnx")

#: Inputs that say shapes, axes and the like: constants in models that are used, while the cases give them at run time.
CONSTANT = {
    "Reshape": [1], "Squeeze": [1], "Unsqueeze": [1], "Expand": [1], "Tile": [1], "Slice": [1, 2, 3, 4], "Pad": [1, 3],
    "TopK": [1], "Split": [1], "OneHot": [1, 2], "CumSum": [1], "CumProd": [1], "Trilu": [1], "ConstantOfShape": [0],
    "Range": [0, 1, 2], "Upsample": [1], "Resize": [1, 2, 3], "Dropout": [1, 2], "CenterCropPad": [1],
}  # fmt: skip

#: All cases of these operations pass; those of others that are known are refused in part.
COMPLETE = (
    "Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool Ceil Celu CenterCropPad Clip Concat"
    " Conv ConvTranspose Cos Cosh CumProd CumSum DepthToSpace Div Einsum Elu Equal Erf Exp Expand EyeLike Flatten"
    " Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual"
    " GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN"
    " LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul Max Mean"
    " MeanVarianceNormalization Min Mish Mod Mul Neg NegativeLogLikelihoodLoss OneHot Or PRelu Pad Pow"
    " RMSNormalization RNN Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin"
    " ReduceProd ReduceSum ReduceSumSquare Relu Reshape RotaryEmbedding Round Selu Shrink Sigmoid Sign Sin Sinh Size"
    " Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum SwiGLU Swish Tan Tanh ThresholdedRelu"
    " Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor"
).split()


@pytest.fixture(scope="module")
def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return collect_testcases(None)


def outcome(case) -> str:
    """passed, refused, or what is wrong."""
    for inputs, expected in case.data_sets:
        if any(isinstance(a, list) or np.asarray(a).dtype.kind not in "fiub" for a in (*inputs, *expected)):
            return "of other elements"
        arrays = [np.asarray(array) for array in inputs]
        try:
            model, given = with_constants(case.model, arrays)
            found = results(model, given)
        except dg.DiffgraphError:
            return "refused"
        for one, other in zip(found, expected):
            tolerance = 2e-3 if np.asarray(other).dtype == np.float16 else 1e-3
            if np.shape(one) != np.shape(other):
                return f"{np.shape(one)} instead of {np.shape(other)}"
            if not np.allclose(one, np.asarray(other, float), rtol=tolerance, atol=1e-5, equal_nan=True):
                return "wrong"
    return "passed"


def with_constants(model, arrays):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = set()
    for node in model.graph.node:
        places = CONSTANT.get(node.op_type, [1] if node.op_type.startswith("Reduce") else [])
        names.update(node.input[k] for k in places if k < len(node.input))
    given = []
    del copy.graph.input[:]
    for info, array in zip(model.graph.input, arrays):
        if info.name in names:
            copy.graph.initializer.append(onnx.numpy_helper.from_array(array, info.name))
        else:
            copy.graph.input.append(info)
            given.append(array)
    return copy, given


def results(model, given) -> list[np.ndarray]:
    imported = text_of(graph_of(model, known=OPERATORS), taken_everywhere())
    net = dg.loads(imported.text, target="reference", precision="f64")
    for name, array in imported.weights.items():
        (net.parameters if name in net.parameters else net.state)[name] = array
    ports = [port.name for port in net.network().inputs]
    return list(net(**dict(zip(ports, given))).values())


def test_nothing_is_computed_wrong(cases):
    """One case of every operation, and of every set of operations that defines another."""
    seen: Counter[str] = Counter()
    found: dict[str, list[str]] = {}
    for case in cases:
        kinds = sorted({node.op_type for node in case.model.graph.node})
        seen["".join(kinds)] += 1
        if seen["".join(kinds)] == 1:
            found.setdefault(outcome(case), []).append(case.name)
    assert found.keys() <= {"passed", "refused", "of other elements"}, {k: v for k, v in found.items() if len(v) < 20}
    assert len(found["passed"]) > 180


@pytest.mark.parametrize("start", range(4))
def test_whole_operations(cases, start):
    mine = [c for c in cases if {n.op_type for n in c.model.graph.node} <= set(COMPLETE[start::4])]
    found = {case.name: outcome(case) for case in mine}
    bad = {n: o for n, o in found.items() if o not in ("passed", "of other elements")}
    assert {n for n in bad if "bfloat16" not in n} == set()


#: Of these, too, nothing is wrong; with some attributes they are refused.
IN_PART = {"BatchNormalization": 2, "LSTM": 5, "MaxPool": 17, "ReduceMax": 8, "Resize": 31}


@pytest.mark.parametrize("name", IN_PART)
def test_operations_known_in_part(cases, name):
    mine = [outcome(c) for c in cases if {n.op_type for n in c.model.graph.node} == {name}]
    assert set(mine) <= {"passed", "refused", "of other elements"}
    assert mine.count("passed") >= IN_PART[name]


def model_of(nodes, inputs, outputs, constants=()):
    stored = [onnx.numpy_helper.from_array(array, name) for name, array in constants]
    graph = onnx.helper.make_graph(nodes, "small", inputs, outputs, stored)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def small_model():
    node, floats = onnx.helper.make_node, onnx.TensorProto.FLOAT
    random = np.random.default_rng(0)
    constants = [
        ("conv.weight", random.normal(size=(4, 2, 3, 3)).astype(np.float32)),
        ("bn.scale", np.ones(4, np.float32)),
        ("bn.bias", np.zeros(4, np.float32)),
        ("bn.mean", random.normal(size=4).astype(np.float32)),
        ("bn.var", np.full(4, 2, np.float32)),
        ("fc", random.normal(size=(4, 3)).astype(np.float32)),
        ("sum", np.array([0, -1], np.int64)),
    ]
    nodes = [
        node("Conv", ["i", "conv.weight"], ["c"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "bn.scale", "bn.bias", "bn.mean", "bn.var"], ["b"]),
        node("Relu", ["b"], ["input"]),
        node("GlobalAveragePool", ["input"], ["p"]),
        node("Shape", ["p"], ["shape"]),
        node("Reshape", ["p", "sum"], ["flat"]),
        node("MatMul", ["flat", "fc"], ["logits"]),
        node("Softmax", ["logits"], ["softmax"]),
    ]
    inputs = [onnx.helper.make_tensor_value_info("i", floats, ["batch", 2, 8, 8])]
    outputs = [onnx.helper.make_tensor_value_info("softmax", floats, ["batch", 3])]
    return model_of(nodes, inputs, outputs, constants)


def test_command(tmp_path, capsys):
    file = tmp_path / "small.onnx"
    onnx.save(small_model(), str(file))
    assert run(["import", str(file)]) == 0
    text = (tmp_path / "small.net").read_text()
    assert "param conv_weight[4, 2, 3, 3] = 0" in text and "state bn_mean[4] = 0" in text
    assert run(["fmt", "--check", str(tmp_path)]) == 0
    net = dg.load(tmp_path / "small.net", target="reference")
    net.load(tmp_path / "small.safetensors")
    from onnx.reference import ReferenceEvaluator

    for batch in (1, 3):
        x = np.random.default_rng(batch).normal(size=(batch, 2, 8, 8)).astype(np.float32)
        expected = ReferenceEvaluator(small_model()).run(None, {"i": x})[0]
        (found,) = net(**{net.network().inputs[0].name: x}).values()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert run(["export", str(tmp_path / "small.net"), "--weights", str(tmp_path / "small.safetensors"), "-o",
                str(tmp_path / "w.npz"), "--target", "reference"]) == 0  # fmt: skip
    assert set(np.load(tmp_path / "w.npz")) == {*net.parameters, *net.state}
    capsys.readouterr()


def test_refusals(tmp_path, capsys):
    (tmp_path / "no.onnx").write_bytes(b"no model")
    assert run(["import", str(tmp_path / "no.onnx")]) == 2
    assert run(["import", str(tmp_path / "absent.onnx")]) == 2
    floats = onnx.TensorProto.FLOAT
    port = [onnx.helper.make_tensor_value_info(n, floats, [2, 2]) for n in "xy"]
    model = model_of([onnx.helper.make_node("Det", ["x"], ["y"])], port[:1], port[1:])
    onnx.save(model, str(tmp_path / "det.onnx"))
    assert run(["import", str(tmp_path / "det.onnx")]) == 2
    said = capsys.readouterr().err
    assert "DG953" in said and "operations that cannot be imported: Det" in said
