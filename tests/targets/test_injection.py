"""Nothing that a model says becomes code: generated modules hold names made of letters and digits, and comments."""

import ast

import numpy as np
import pytest

import diffgraph as dg

NET = """
net example {
    input x[N, 40]
    assert x.size > 0, "\\"\\"\\"\\nimport os\\n"
    h = x -> linear(64) as lambda_ -> (tanh as import_os) as block
    y = h -> linear(3) as block_2
    output y
    loss mean(y^2)
}"""

FILES = ['a""" + evil() + """.net', "a'''\nimport os\n'''.net", "a\\.net", "# {x} %s.net", "naïve ünïcode ☃.net"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("precision", ["f32", "f64"])
def test_generated_modules_import_the_prelude_only(file, precision, tmp_path):
    path = tmp_path / file
    path.write_text(NET)
    net = dg.load(path, precision=precision)
    net.gradients(x=np.ones((5, 40)))
    sources = [net.training_executable().source(), net.inference_executable().source()]
    for source in sources:
        module = ast.parse(source)
        imports = [n for n in ast.walk(module) if isinstance(n, (ast.Import, ast.ImportFrom))]
        assert imports and {n.module for n in imports} == {"diffgraph.targets.cpu.prelude"}
        texts = [n.value for n in module.body if isinstance(n, ast.Expr)]
        assert all(isinstance(t, ast.Constant) and isinstance(t.value, str) for t in texts)
        called = {n.func.id for n in ast.walk(module) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert "evil" not in called and "exec" not in called and "eval" not in called
