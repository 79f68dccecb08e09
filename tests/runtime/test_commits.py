"""New values of parameters: in place where nobody needs the old one, and right where somebody does."""

import numpy as np
import pytest
from agreement import program_of

from diffgraph.ir.program import Commit
from diffgraph.kernels.commit import place_commits
from diffgraph.kernels.schedule import schedule
from diffgraph.runtime.executable import build

CASES = {
    # name: (statements, commits as parameter -> tensor, parameters overwritten in place)
    "pointwise": ("w2 = w * 0.5 + v\noutput w2", {"w": "w2"}, {"w"}),
    "chained": ("v2 = v * 0.9 + w\nw2 = w - v2\noutput w2", {"v": "v2", "w": "w2"}, {"v", "w"}),
    "read by a later kernel": ("w2 = w * 0.5\nm = max(w, axis = 0)\ny[i] = m[i] + sum[j](w[j, i])\noutput y", {"w": "w2"}, None),
    "read at other places": ("w2[i, j] = w[3 - i, j] * 2\noutput w2", {"w": "w2"}, set()),
    "reduced by its own kernel": ("w2[i, j] = w[i, j] / sum[k](w[i, k])\noutput w2", {"w": "w2"}, set()),
    "swapped": ("output y = w + v", {"w": "v", "v": "w"}, set()),
    "shifted along": ("w2 = w + 1\noutput w2", {"w": "v", "v": "w2"}, None),
    "the old value is an output": ("w2 = w + 1\noutput w\noutput w2", {"w": "w2"}, None),
    "two states of one tensor": ("w2 = w + v\noutput w2", {"w": "w2", "v": "w2"}, None),
    "a view": ("f = reshape(w, [-1])\ng = f * 2\nw2 = reshape(g, [4, 3])\noutput w2", {"w": "w2"}, None),
    "scattered": ("w2[i < 4, j] = sum[a < 4](w[a, j] if i == 3 - a else 0)\noutput w2", {"w": "w2"}, set()),
    "by a scan": ("output y = scan t in 0..3 from h = w { next h = h + v }", {"w": "y"}, None),
}


def program(text, commits):
    made = program_of(f"input x[N]\nparam w[4, 3] = 0\nparam v[4, 3] = 0\n{text}\noutput size = sum[n](x[n])")
    names = {i.path: i.tensor.name for i in made.inputs}
    outputs = {o.name: o.tensor for o in made.outputs}
    return made.with_(commits=tuple(Commit(names[s], outputs.get(t) or names.get(t) or t) for s, t in commits.items()))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_states_take_their_new_values(case, steps, rng):
    text, commits, _ = CASES[case]
    made = program(text, commits)
    values = {p: rng.standard_normal((4, 3)) for p in ("w", "v")}
    results = []
    for target in ("cpu", "reference"):
        executable = build(made, target, "f64")
        storage = {p: a.copy() for p, a in values.items()}
        executable.bind(storage)
        outputs = [executable.run({"x": np.ones(2)}, commit=True) for _ in range(steps)]
        results.append((storage, outputs))
    (ours, our_outputs), (theirs, their_outputs) = results
    for path in theirs:
        np.testing.assert_allclose(ours[path], theirs[path], 1e-13, err_msg=path)
    for found, expected in zip(our_outputs, their_outputs):
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], 1e-13, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_nothing_changes_without_commit(case, rng):
    text, commits, _ = CASES[case]
    made = program(text, commits)
    executable = build(made, "cpu", "f64")
    storage = {p: rng.standard_normal((4, 3)) for p in ("w", "v")}
    before = {p: a.copy() for p, a in storage.items()}
    executable.bind(storage)
    first = executable.run({"x": np.ones(2)})
    second = executable.run({"x": np.ones(2)})
    for path in before:
        np.testing.assert_array_equal(storage[path], before[path])
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize("case", [c for c in CASES if CASES[c][2] is not None])
def test_in_place_where_that_is_right(case):
    text, commits, expected = CASES[case]
    made = program(text, commits)
    names = {i.tensor.name: i.path for i in made.inputs}
    placed = place_commits(schedule(made), made)
    assert {names[s] for s in placed.in_place} == expected
