import pytest

from detq.dialects import write_quantized
from detq.dialects.grids import require_grids
from detq.errors import TargetError
from detq.numerics import WEIGHTS_7_BIT
from detq.target import PLAIN, Target
from detq_deploy.targets import TENSORRT
from tests.steps import UNSIGNED, merged, quantized

SHIFTED = Target("shifted", unsigned_activations=True, shifted_activations=True)
NARROW = Target("narrow", weights=WEIGHTS_7_BIT)
AGAIN = "(quantize again: detq quantize ... --target {})"


@pytest.mark.parametrize("target", [PLAIN, UNSIGNED, SHIFTED, NARROW])
def test_a_graph_has_the_grids_it_was_made_with(target: Target) -> None:
    require_grids(quantized(merged("silu"), target).graph, target)


@pytest.mark.parametrize("target", TENSORRT.values(), ids=TENSORRT)
def test_what_is_made_for_simulation_suits_every_tensorrt(target: Target) -> None:
    require_grids(quantized(merged("residual")).graph, target)


@pytest.mark.parametrize(
    ("made_for", "target", "text"),
    [
        (
            UNSIGNED,
            TENSORRT["trt8.5"],
            "images has unsigned (zero point 0) integers, trt8.5 takes signed (zero point 0)",
        ),
        (
            PLAIN,
            SHIFTED,
            "images has signed (zero point 0) integers, shifted takes unsigned (zero point 0) and "
            "unsigned (zero point 128)",
        ),
        (PLAIN, UNSIGNED, "all its integers are signed, unsigned takes unsigned ones"),
        (PLAIN, NARROW, "stem.conv.weight has integers beyond 63"),
    ],
)
def test_another_grid_is_refused(made_for: Target, target: Target, text: str) -> None:
    model = quantized(merged("residual"), made_for)
    with pytest.raises(TargetError) as caught:
        write_quantized(model, target)
    again = AGAIN.format(target.name)
    assert str(caught.value) == f"was quantized for another target: {text} {again}"


def test_a_layer_for_which_the_target_has_no_kernel() -> None:
    model = quantized(merged("tiny_detector"))
    with pytest.raises(TargetError, match=r"is INT8, trt8\.4 has no kernel for that"):
        write_quantized(model, TENSORRT["trt8.4"])
    write_quantized(quantized(merged("tiny_detector"), TENSORRT["trt8.4"]), TENSORRT["trt8.4"])
