import onnx_ir as ir
import pytest

from detq.errors import ModelError
from detq.graph.build import Builder
from detq.graph.slices import nodes_between, values_by_name


@pytest.fixture
def diamond() -> ir.Graph:
    """images → a → (b, c) → outputs, and d that leads nowhere."""
    w = Builder("diamond")
    x = w.input("images", [1, 1, 2, 2])
    a = w.elementwise("Relu", x, name="a")
    b, c = (w.elementwise("Sigmoid", a, name=name) for name in "bc")
    w.elementwise("Tanh", a, name="d")
    return w.finish({"outputs": w.elementwise("Add", b, c, name="sum")}).graph


def names(nodes: tuple[ir.Node, ...]) -> list[str]:
    return [str(node.name) for node in nodes]


@pytest.mark.parametrize(
    ("feeds", "outputs", "wanted"),
    [
        (["images"], ["outputs"], ["a", "b", "c", "sum"]),
        (["a"], ["outputs"], ["b", "c", "sum"]),
        (["b", "images"], ["outputs"], ["a", "c", "sum"]),
        (["b", "c"], ["outputs"], ["sum"]),
        (["images"], ["c", "d"], ["a", "c", "d"]),
        (["a"], ["a"], []),
    ],
)
def test_only_what_is_needed_in_graph_order(
    diamond: ir.Graph, feeds: list[str], outputs: list[str], wanted: list[str]
) -> None:
    assert names(nodes_between(diamond, feeds, outputs)) == wanted


def test_missing_names_are_said(diamond: ir.Graph) -> None:
    with pytest.raises(ModelError, match="x: no value of this name"):
        nodes_between(diamond, ["images"], ["x"])
    with pytest.raises(ModelError, match="y: no value of this name"):
        nodes_between(diamond, ["y"], ["outputs"])
    with pytest.raises(ModelError, match=r"images: graph input is needed .*feed it"):
        nodes_between(diamond, ["b"], ["outputs"])


def test_values_are_inputs_weights_and_results(diamond: ir.Graph) -> None:
    assert list(values_by_name(diamond)) == ["images", "a", "b", "c", "d", "outputs"]
