from pathlib import Path

import onnx_ir as ir
import pytest

from detq.errors import InputError
from detq.graph.files import detector_metadata, save_model
from detq_deploy.trt.profiles import add_profiles, batch_span, profiles_for, size_span
from detq_deploy.trt.request import Shapes
from tests.detq_deploy.conftest import DETECTOR
from tests.detq_deploy.lint.sketch import Sketch
from tests.detq_deploy.trt.contract.double import Double

ONE, MANY = (1, 1, 1), (1, 4, 8)


def saved(folder: Path, *open_: int, detector: bool = True) -> Path:
    s = Sketch()
    shape = s.images.shape
    assert shape is not None
    s.images.shape = ir.Shape([f"d{i}" if i in open_ else n for i, n in enumerate(shape)])
    model = s.done(s.layer(s.pair(s.images)))
    if detector:
        model.metadata_props.update(detector_metadata(DETECTOR))
    save_model(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_a_fixed_file_needs_no_profile(tmp_path: Path) -> None:
    assert profiles_for(saved(tmp_path)) == ()
    assert profiles_for(saved(tmp_path), [ONE], ((8, 8),) * 3) == ()


def test_a_batch_that_varies_is_one_image_or_what_is_asked(tmp_path: Path) -> None:
    path = saved(tmp_path, 0)
    one = (1, 16, 8, 8)
    assert profiles_for(path) == ({"images": Shapes(least=one, usual=one, most=one)},)
    (profile,) = profiles_for(path, [MANY])
    assert profile["images"] == Shapes(least=one, usual=(4, 16, 8, 8), most=(8, 16, 8, 8))
    assert not profile["images"].fixed
    assert len(profiles_for(path, [ONE, (8, 8, 8)])) == 2


def test_sizes_that_vary_are_those_of_the_detector_or_what_is_asked(tmp_path: Path) -> None:
    path = saved(tmp_path, 0, 2, 3)
    assert profiles_for(path)[0]["images"].usual == (1, 16, 16, 16)
    sizes = ((8, 16), (16, 16), (32, 64))
    span = profiles_for(path, sizes=sizes)[0]["images"]
    assert (span.least, span.most) == ((1, 16, 8, 16), (1, 16, 32, 64))
    with pytest.raises(InputError, match=r"sizes of images vary.*--size"):
        profiles_for(saved(tmp_path, 2, 3, detector=False))


@pytest.mark.parametrize(
    ("batches", "sizes", "text"),
    [
        ([(2, 2, 2)], None, "takes 1 images at a time"),
        ([ONE, ONE], None, "takes one shape"),
        ([], ((16, 16),) * 3, "takes images of 8 x 8"),
    ],
)
def test_what_the_file_has_already_is_not_asked_again(
    tmp_path: Path, batches: list[tuple[int, int, int]], sizes: object, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        profiles_for(saved(tmp_path), batches, sizes)  # type: ignore[arg-type]


def test_spans_are_read() -> None:
    assert batch_span("4") == (4, 4, 4)
    assert batch_span("1:4:8") == MANY
    assert size_span("640") == ((640, 640),) * 3
    assert size_span("320:384x640:960x960") == ((320, 320), (384, 640), (960, 960))


@pytest.mark.parametrize("text", ["", "0", "a", "1:2", "1:2:3:4", "1.5", "-1"])
def test_no_span_is_told(text: str) -> None:
    with pytest.raises(InputError, match=r"--batch: .*is no span \(give 4, or 1:4:8"):
        batch_span(text)
    with pytest.raises(InputError, match=r"--size: .*is no span"):
        size_span(text or "x")


def test_a_span_rises() -> None:
    with pytest.raises(InputError, match="8:4:1 does not rise"):
        batch_span("8:4:1")
    with pytest.raises(InputError, match="does not rise"):
        size_span("320x640:640x320:960")


def test_the_builder_is_told(double: Double, tmp_path: Path) -> None:
    import tensorrt as trt

    builder = double.make("Builder")
    add_profiles(builder, builder.create_builder_config(), profiles_for(saved(tmp_path, 0), [MANY]))
    (call,) = double.called("IOptimizationProfile.set_shape")
    assert call.args == ("images", (1, 16, 8, 8), (4, 16, 8, 8), (8, 16, 8, 8))
    (profile,) = double.values("IBuilderConfig.add_optimization_profile")
    assert isinstance(profile, trt.IOptimizationProfile)
