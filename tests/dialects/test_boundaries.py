import onnx_ir as ir
import pytest

from detq.dialects import write_quantized
from detq.dialects.boundaries import Boundaries, boundaries
from detq.dialects.explain import int8_layers
from detq.target import PLAIN
from detq.transforms import DEFAULT, transform
from detq_deploy.targets import TENSORRT
from tests.block_writer import Writer
from tests.steps import merged, quantized
from tests.zoo import Body, network


def of_graph(model: ir.Model) -> Boundaries:
    return boundaries(model.graph, int8_layers(model.graph))


def of_body(body: Body) -> Boundaries:
    return of_graph(quantized(transform(network(body), DEFAULT)).graph)


def crossings(found: Boundaries) -> list[tuple[str, bool, str]]:
    return [(one.tensor, one.to_int8, one.reader) for one in found.crossings]


INTO, OUT = ("images", True, "stem.conv"), False


def test_one_at_the_input_and_one_in_front_of_the_prediction() -> None:
    found = of_graph(quantized(merged("repvgg")).graph)
    assert crossings(found) == [INTO, ("block.relu", OUT, "pred")]
    assert found.islands == 1


@pytest.mark.parametrize("name", ["residual", "bottlerep_alpha", "sppf", "bifpan", "upsample"])
def test_sums_copies_and_learned_factors_stay_inside(name: str) -> None:
    found = of_graph(quantized(merged(name)).graph)
    assert [one.to_int8 for one in found.crossings] == [True, False]
    assert found.islands == 1


def test_a_whole_detector_has_one_for_each_prediction() -> None:
    model = quantized(merged("tiny_detector")).graph
    found = of_graph(model)
    into = [one for one in found.crossings if one.to_int8]
    out = [one for one in found.crossings if not one.to_int8]
    assert [one.tensor for one in into] == ["images"]
    assert len(out) == found.islands == 6


def test_a_float_layer_in_the_middle_costs_two() -> None:
    model = quantized(merged("repvgg"), PLAIN, {"block.conv": "asked for"}).graph
    found = of_graph(model)
    assert found.islands == 1  # with the prediction behind it
    assert crossings(found) == [INTO, ("stem.relu", OUT, "block.conv")]


def test_an_island_between_int8_layers() -> None:
    def body(w: Writer, x: ir.Value) -> ir.Value:
        x = w.elementwise("Tan", x, name="odd")
        return w.conv_module(x, 8, 3, name="after")

    found = of_body(body)
    assert crossings(found) == [
        INTO, ("stem.relu", OUT, "odd"), ("odd", True, "after.conv"), ("after.relu", OUT, "pred"),
    ]  # fmt: skip
    assert found.islands == 2


@pytest.mark.parametrize("name", ["trt8.5", "trt10.3", "trt11.4"])
@pytest.mark.parametrize("network", ["tiny_detector", "residual"])
def test_every_dialect_has_the_same(network: str, name: str) -> None:
    model = quantized(merged(network))
    written = write_quantized(model, TENSORRT[name], batch=1)
    assert of_graph(written) == of_graph(model.graph)


def test_a_float_graph_has_none() -> None:
    assert of_graph(merged("residual").graph) == Boundaries((), 1)
