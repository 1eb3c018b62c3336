import numpy as np
import pytest

from detq.model import FloatModel
from detq.summary import Kernel, summarize
from detq.transforms import DEFAULT, transform
from tests.zoo import ZOO, tiny_detector

pytest.importorskip("torch", reason="merging is checked in torch")


@pytest.fixture(scope="module")
def pair() -> tuple[FloatModel, FloatModel]:
    source = tiny_detector()
    return source, transform(source, DEFAULT)


def weight_of(model: FloatModel, layer: str) -> np.ndarray:
    node = next(node for node in model.graph.graph if node.name == layer)
    return np.asarray(node.inputs[1].const_value.numpy(), np.float64)


def test_the_network_in_figures(pair: tuple[FloatModel, FloatModel]) -> None:
    source, merged = pair
    found = summarize(source, merged)
    assert (found.family, found.names, found.size) == ("tiny", ("a", "b", "c"), (64, 64))
    assert found.strides == (8, 16, 32)
    assert found.stages == ("backbone", "neck", "head", "decode")
    assert found.parameters == source.parameters > found.parameters_merged == merged.parameters
    operators = [node.op_type for node in merged.graph.graph]
    assert found.layers == operators.count("Conv") + operators.count("ConvTranspose")
    assert sum(found.blocks.values()) == len(source.blocks)


def test_every_dense_3x3_kernel_with_its_block(pair: tuple[FloatModel, FloatModel]) -> None:
    source, merged = pair
    found = summarize(source, merged).kernels
    convs = [node for node in merged.graph.graph if node.op_type == "Conv"]
    dense = [str(node.name) for node in convs
             if weight_of(merged, str(node.name)).shape[2:] == (3, 3)]  # fmt: skip
    assert [kernel.layer for kernel in found] == dense
    blocks = {node.name: block.name for block in merged.blocks for node in block.nodes}
    assert {kernel.block for kernel in found} == {blocks.get(name, "") for name in dense}
    assert any(kernel.block for kernel in found)


def test_the_spread_of_the_centre_over_that_of_the_others(
    pair: tuple[FloatModel, FloatModel],
) -> None:
    source, merged = pair
    for kernel in summarize(source, merged).kernels:
        weight = weight_of(merged, kernel.layer)
        assert kernel.shape == weight.shape
        around = [weight[..., y, x] for y in range(3) for x in range(3) if (y, x) != (1, 1)]
        wanted = weight[..., 1, 1].std() / np.stack(around).std()
        assert kernel.centre_over_surround == pytest.approx(wanted, rel=1e-12)


def test_merging_branches_raises_it() -> None:
    source = ZOO["repvgg"]()
    merged = transform(source, DEFAULT)

    def largest(model: FloatModel) -> float:
        return max(k.centre_over_surround for k in summarize(model, model).kernels)

    assert largest(merged) > 1.3 * largest(source)


def test_depthwise_kernels_are_left_out() -> None:
    source = ZOO["lite"]()
    kernels: tuple[Kernel, ...] = summarize(source, source).kernels
    assert all(kernel.shape[1] > 1 for kernel in kernels)
    convs = [node for node in source.graph.graph if node.op_type == "Conv"]
    shapes = [weight_of(source, str(node.name)).shape for node in convs]
    assert any(shape[1] == 1 and shape[2:] == (3, 3) for shape in shapes)
