from pathlib import Path

import onnx_ir as ir
import pytest

from detq.errors import InputError, TargetError
from detq.graph.files import TARGET, save_model
from detq_deploy.targets import target_named
from detq_deploy.trt.dialect import (
    check_dialect,
    check_version,
    is_quantized,
    target_for,
    target_of_file,
)
from detq_deploy.trt.load import Loaded
from tests.detq_deploy.lint.sketch import Sketch


def saved(folder: Path, note: str = "", *, quantized: bool = True, stored: bool = True) -> Path:
    s = Sketch()
    x = s.pair(s.images) if quantized else s.images
    model: ir.Model = s.done(s.layer(x, quantized=quantized, stored=stored) if quantized else x)
    if note:
        model.metadata_props[TARGET] = note
    save_model(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_a_file_says_what_it_is_for(tmp_path: Path) -> None:
    assert target_of_file(saved(tmp_path, "trt10.3: s8 activations")) == "trt10.3"
    assert target_of_file(saved(tmp_path)) == ""
    assert is_quantized(saved(tmp_path))
    assert not is_quantized(saved(tmp_path, quantized=False))


@pytest.mark.parametrize(
    ("note", "target", "typing"),
    [
        ("trt10.3: x", "trt10.3", "strong"),
        ("trt10.3", "trt10.16", "strong"),
        ("trt11.4", "trt10.13", "strong"),
        ("trt10.3", "trt-rtx", "strong"),
        ("trt8.6", "trt8.6", "weak"),
        ("trt8.6", "trt10.3", "weak"),
    ],
)
def test_a_file_of_ours_goes_to_every_version_of_its_dialect(
    tmp_path: Path, note: str, target: str, typing: str
) -> None:
    assert check_dialect(saved(tmp_path, note), target_named(target), typing) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("note", "target", "typing", "text"),
    [
        ("plain", "trt10.3", "strong", r"for simulation, not trt10.3 \(detq export model.plain.onnx"
         r" --target trt10.3 --output model.trt10.3.onnx\)"),
        ("openvino: u8", "trt8.5", "weak", "is written for openvino, not trt8.5"),
        ("trt8.5", "trt10.3", "strong", "for trt8.5, whose networks are weakly typed, not"),
        ("trt10.3", "trt8.5", "weak", r"strongly typed, not for trt8.5.*with --target trt10.3"),
        ("trt10.3", "trt10.3", "weak", r"for strongly typed networks \(leave out --typing weak"),
        ("trt8.6", "trt8.6", "strong", r"for weakly typed networks \(leave out --typing strong\)"),
    ],
)  # fmt: skip
def test_another_dialect_is_refused_with_the_right_target(
    tmp_path: Path, note: str, target: str, typing: str, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        check_dialect(saved(tmp_path, note), target_named(target), typing)  # type: ignore[arg-type]


def test_a_float_file_is_taken_and_its_type_told(tmp_path: Path) -> None:
    target = target_named("trt11.4")
    (warning,) = check_dialect(saved(tmp_path, "float", quantized=False), target, "strong")
    assert "will run in float32" in warning
    assert check_dialect(saved(tmp_path, "float16", quantized=False), target, "strong") == ()
    assert check_dialect(saved(tmp_path, quantized=False), target_named("trt8.6"), "weak") == ()


def test_a_file_of_others_is_linted(tmp_path: Path) -> None:
    target = target_named("trt8.5")
    assert check_dialect(saved(tmp_path, stored=False), target, "weak") == ()
    with pytest.raises(InputError, match=r"conv.*such findings.*detq lint .* --target trt8.5"):
        check_dialect(saved(tmp_path), target, "weak")


@pytest.mark.parametrize(
    ("version", "target"),
    [("8.4.1", "trt8.4"), ("8.5.3.1", "trt8.5"), ("8.6.2", "trt8.6"), ("10.0.1", "trt10.3"),
     ("10.3.0", "trt10.3"), ("10.7.0", "trt10.3"), ("10.14", "trt10.13"), ("10.16.2", "trt10.16"),
     ("11.0", "trt11.4"), ("11.5", "trt11.4"), ("9.3", "trt8.6")],
)  # fmt: skip
def test_every_version_has_its_target(version: str, target: str) -> None:
    assert target_for(Loaded("tensorrt", version)) == target


def test_the_version_here_is_another() -> None:
    assert check_version(Loaded("tensorrt", "10.7.0"), ("trt10.3",), "m.onnx") == ""
    assert check_version(Loaded("tensorrt", "8.6.2"), (), "m.onnx") == ""
    newer = check_version(Loaded("tensorrt", "10.3.0"), ("trt10.13",), "m.onnx")
    assert newer == "m.onnx is written for TensorRT 10.13, which is newer than 10.3.0"
    with pytest.raises(TargetError) as caught:
        check_version(Loaded("tensorrt", "8.5.2"), ("trt10.3",), "m.onnx")
    assert "with TensorRT 10.3, here is 8.5.2" in str(caught.value)
    assert "--target trt8.5" in str(caught.value)
