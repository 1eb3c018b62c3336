import math

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("torch", reason="runs the graph")

from detq.kernel_split import choose_splits, output_snrs_db
from detq.model import FloatModel
from detq.numerics import WEIGHTS
from detq.observe import collect
from detq.placement import place
from detq.quantized import QuantizedModel, quantize
from detq.ranges import choose_ranges, estimator_from
from detq.recipe import CoarseFine, MinMax
from detq.stats import CalibrationStats
from detq.target import PLAIN
from detq.transforms.coarse_fine import split_coarse_fine, splittable
from tests.steps import images, merged


def with_strong_centre(ratio: float) -> FloatModel:
    """The merged block's kernel with its centre taps so many times as large."""
    model = merged("repvgg")
    copy = model.graph.clone()
    stored = copy.graph.initializers["block.conv.weight"]
    assert stored.const_value is not None
    weight = stored.const_value.numpy().copy()
    weight[:, :, 1, 1] *= ratio
    stored.const_value = ir.tensor(weight, name=stored.name)
    return FloatModel(copy, model.detector)


def chosen(model: FloatModel, **options: object) -> frozenset[str]:
    return choose_splits(model, CoarseFine(**options), WEIGHTS).layers  # type: ignore[arg-type]


def test_all_are_those_with_branches() -> None:
    assert chosen(merged("repvgg"), choose="all") == {"block.conv"}


def test_the_surround_decides() -> None:
    assert chosen(with_strong_centre(20)) == {"block.conv"}
    assert chosen(with_strong_centre(0.1)) == frozenset()
    assert chosen(with_strong_centre(20), least_gain_db=60) == frozenset()


def test_a_float_layer_stays_whole() -> None:
    found = choose_splits(with_strong_centre(20), CoarseFine(), WEIGHTS, int8=["stem.conv"])
    assert found.layers == frozenset()
    assert {kernel.layer for kernel in found.kernels} == {"stem.conv", "block.conv"}


def quantized(model: FloatModel) -> QuantizedModel:
    placement = place(model, PLAIN)
    seen = collect(model, [point.value for point in placement.points], [images(model)])
    ranges = choose_ranges(CalibrationStats(seen, ()), placement, estimator_from(MinMax()))
    return quantize(model, placement, ranges)


def test_the_output_decides() -> None:
    model = with_strong_centre(20)
    split = split_coarse_fine(model, splittable(model))
    gains = output_snrs_db(
        model, quantized(model), quantized(split), splittable(model), [images(model, 2)]
    )
    before, after = gains["block.conv"]
    assert after > before + 1
    measured = choose_splits(
        model, CoarseFine(choose="measured", least_gain_db=1), WEIGHTS, measured=gains
    )
    assert "block.conv" in measured.layers
    record = next(kernel for kernel in measured.kernels if kernel.layer == "block.conv")
    assert record.output_snr_db == (round(before, 2), round(after, 2))
    none = choose_splits(
        model, CoarseFine(choose="measured", least_gain_db=90), WEIGHTS, measured=gains
    )
    assert none.layers == frozenset()


def test_what_is_measured_is_the_error_of_the_layer_alone() -> None:
    model = with_strong_centre(20)
    file = quantized(model)
    [(_, (snr, same))] = output_snrs_db(
        model, file, file, ["block.conv"], [images(model, 2)]
    ).items()
    assert snr == same
    import torch

    from detq.graph.execute import compile_slice, execute, parameters

    def run(graph: ir.Graph, feed: str, x: torch.Tensor, name: str) -> torch.Tensor:
        program = compile_slice(graph, [feed], [name])
        return execute(program, {feed: x}, parameters(program))[name]

    x = run(model.graph.graph, "images", torch.from_numpy(images(model, 2)), "stem.relu")
    wanted = run(model.graph.graph, "stem.relu", x, "block.conv").double()
    found = run(file.graph.graph, "stem.relu", x, "block.conv").double()
    noise = float((found - wanted).square().sum())
    assert snr == pytest.approx(10 * math.log10(float(wanted.square().sum()) / noise), abs=1e-6)


def test_multiplications_are_counted() -> None:
    found = choose_splits(with_strong_centre(20), CoarseFine(), WEIGHTS)
    block = next(kernel for kernel in found.kernels if kernel.layer == "block.conv")
    assert block.macs == 8 * 8 * 9 * 16 * 16
    assert block.extra_macs == found.extra_macs == 8 * 8 * 16 * 16
    stem, pred = 8 * 3 * 9 * 16 * 16, 4 * 8 * 16 * 16
    assert found.macs == block.macs + stem + pred
    weight = splittable(with_strong_centre(20))["block.conv"].reshape(8, 8, 9)
    ratio = weight[:, :, 4].std() / np.delete(weight, 4, axis=2).std()
    assert block.centre_over_surround == pytest.approx(ratio, rel=1e-4)
