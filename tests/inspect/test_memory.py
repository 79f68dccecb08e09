"""What a step keeps in memory."""

from diffgraph.compiler import loads
from diffgraph.inspect.memory import fullest, memory_of, peak_bytes
from diffgraph.runtime.executable import Block

TEXT = """net n {
    input x[N, 100]
    h = x -> linear(50, bias = false) -> tanh -> linear(10, bias = false)
    loss mean(h^2)
}
expect n { peak_memory < 90000; peak_memory > 24000 }"""


def test_inputs_and_parameters_have_memory_of_their_own_and_the_rest_shares():
    net = loads(TEXT)
    blocks = memory_of(net.network(True), net.training_executable())
    own = {b.tensor: b.size for b in blocks if b.offset is None}
    # Weights that kernels want in another order have a copy beside them.
    assert {"x": 400, "linear1_weight": 20000, "linear2_weight": 2000}.items() <= own.items()
    shared = [b for b in blocks if b.offset is not None]
    assert peak_bytes(blocks) == sum(own.values()) + max(b.offset + b.size for b in shared)
    for a in shared:
        for b in shared:
            if a is not b and a.lives[0] <= b.lives[1] and b.lives[0] <= a.lives[1]:
                assert a.offset + a.size <= b.offset or b.offset + b.size <= a.offset


def test_the_plan_as_text():
    text = loads(TEXT).show("memory")
    assert "of inputs and parameters" in text and "linear1.weight" in text and "always" in text
    assert "most is alive at row" in text


def test_where_most_is_alive():
    lives = {"a": (5, (0, 4)), "b": (7, (1, 2)), "c": (9, (3, 3)), "d": (1, (4, 6))}
    blocks = [Block(name, size, 0, when) for name, (size, when) in lives.items()]
    assert fullest(blocks) == (3, 14)
    assert fullest([]) == (0, 0)
