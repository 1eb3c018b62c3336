import numpy as np
import onnx_ir as ir
import pytest
import torch

from detq.errors import UnsupportedOperatorError
from detq.graph.build import Builder
from detq.graph.execute import compile_slice, execute, parameters, run_by_reference
from detq.graph.reference import reference_function
from tests.engines import assert_within_range, in_interpreter, in_onnxruntime


def network(operator: str, **attributes: object) -> ir.Model:
    b = Builder("net")
    x = b.input("images", [2, 3, 4, 4])
    with b.scope("odd"):
        y = b.op(operator, x, **attributes)
    return b.finish({"outputs": b.op("Relu", y)})


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("ThresholdedRelu", {"alpha": 0.5}),
        ("Selu", {}),
        ("MeanVarianceNormalization", {}),
        ("Sign", {}),
    ],
)
def test_an_operator_without_a_function_is_run_by_the_reference(
    operator: str, attributes: dict[str, object]
) -> None:
    model = network(operator, **attributes)
    (node,) = run_by_reference(model.graph)
    assert node.op_type == operator
    feeds = {"images": np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)}
    got, wanted = in_interpreter(model, feeds)["outputs"], in_onnxruntime(model, feeds)["outputs"]
    assert got.dtype == wanted.dtype
    assert_within_range(got, wanted, 1e-5)


def test_what_comes_out_is_nobody_elses() -> None:
    graph = network("Sign").graph
    program = compile_slice(graph, ["images"])
    x = torch.ones(2, 3, 4, 4)
    found = execute(program, {"images": x}, parameters(program))["outputs"]
    found += 1  # neither read-only nor the input
    assert (x == 1).all()


@pytest.mark.parametrize("operator", ["RandomNormalLike", "Bernoulli", "Nonsense"])
def test_chance_and_nonsense_are_refused(operator: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=f"^odd.{operator.lower()}: operator ONNX"):
        compile_slice(network(operator).graph, ["images"])


def test_a_graph_inside_the_graph_is_refused() -> None:
    inner = ir.Graph([], [], nodes=[], name="inner", opset_imports={"": 17})
    node = ir.Node("", "Loop", [None, None], [ir.AttrGraph("body", inner)])
    assert reference_function(node, 17) is None


def test_another_domain_is_refused() -> None:
    assert reference_function(ir.Node("somewhere", "Relu", [None]), 17) is None


def test_what_the_reference_cannot_do_is_told_with_the_node() -> None:
    graph = network("LRN", size=3, bias=1.0).graph
    program = compile_slice(graph, ["images"])
    with pytest.raises(UnsupportedOperatorError, match=r"^odd\.lrn: this form of LRN is not known"):
        execute(program, {"images": torch.ones(3)}, parameters(program))
