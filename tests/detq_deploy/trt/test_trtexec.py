import msgspec
import pytest

from detq.errors import InputError
from detq_deploy.trt.request import BuildRequest, Settings, Shapes
from detq_deploy.trt.trtexec import trtexec_command, trtexec_text

EIGHT, TEN, ELEVEN = "8.5", "10.3", "11.4"
WEAK = Settings(typing="weak")


def words(version: str, settings: Settings, **request: object) -> list[str]:
    asked = BuildRequest(onnx="/here/model.onnx", settings=settings)
    asked = msgspec.structs.replace(asked, **request)
    found = trtexec_command(asked, version, onnx="model.onnx", engine="model.engine")
    assert found[:3] == ("trtexec", "--onnx=model.onnx", "--saveEngine=model.engine")
    assert "--profilingVerbosity=detailed" in found
    assert "--exportLayerInfo=model.engine.layers.json" in found
    return [word for word in found[3:] if "profiling" not in word and "LayerInfo" not in word]


@pytest.mark.parametrize(
    ("version", "settings", "expected"),
    [
        (EIGHT, WEAK, ["--fp16", "--int8", "--buildOnly"]),
        ("8.6", WEAK, ["--fp16", "--int8", "--skipInference"]),
        (TEN, WEAK, ["--fp16", "--int8", "--skipInference"]),
        (TEN, Settings(), ["--stronglyTyped", "--skipInference"]),
        (ELEVEN, Settings(), ["--skipInference"]),
        ("8.6", Settings(typing="weak", int8=False), ["--fp16", "--skipInference"]),
    ],
)
def test_precision_is_asked_as_the_version_has_it(
    version: str, settings: Settings, expected: list[str]
) -> None:
    assert words(version, settings) == expected


def test_every_choice_has_its_option() -> None:
    settings = Settings(
        workspace_mib=1024,
        optimization_level=4,
        version_compatible=True,
        hardware="same-sm",
        dla_core=1,
        sparse=True,
    )
    spans = Shapes(least=(1, 3, 64, 64), usual=(4, 3, 64, 64), most=(8, 3, 64, 64))
    found = words("10.13", settings, profiles=({"images": spans},), timing_cache="/kept")
    assert found == [
        "--stronglyTyped",
        "--memPoolSize=workspace:1024",
        "--sparsity=enable",
        "--builderOptimizationLevel=4",
        "--versionCompatible",
        "--hardwareCompatibilityLevel=sameComputeCapability",
        "--timingCacheFile=/kept/model.timing",
        "--minShapes=images:1x3x64x64",
        "--optShapes=images:4x3x64x64",
        "--maxShapes=images:8x3x64x64",
        "--useDLACore=1",
        "--allowGPUFallback",
        "--skipInference",
    ]


def test_a_calibration_cache_is_named() -> None:
    found = words("8.6", WEAK, calibration_cache="model.cache")
    assert found[:3] == ["--fp16", "--int8", "--calib=model.cache"]


@pytest.mark.parametrize(
    ("version", "settings", "option"),
    [
        (EIGHT, Settings(), "--typing strong"),
        (ELEVEN, WEAK, "--typing weak"),
        (EIGHT, Settings(typing="weak", optimization_level=3), "--optimization-level"),
        (EIGHT, Settings(typing="weak", version_compatible=True), "--version-compatible"),
        (EIGHT, Settings(typing="weak", hardware="ampere"), "--hardware-compatible"),
        (TEN, Settings(hardware="same-sm"), "--hardware-compatible"),
    ],
)
def test_what_a_version_cannot_do_is_refused(version: str, settings: Settings, option: str) -> None:
    with pytest.raises(InputError, match=rf"{option}: TensorRT {version} cannot do that"):
        words(version, settings)


def test_other_tools_and_several_profiles_are_refused() -> None:
    with pytest.raises(InputError, match="has no trtexec"):
        words("1.7", Settings(), product="tensorrt-rtx")
    with pytest.raises(InputError, match="one profile"):
        words(TEN, Settings(), profiles=({}, {}))


def test_a_shell_takes_the_text() -> None:
    text = trtexec_text(("trtexec", "--onnx=my model.onnx"))
    assert text == "trtexec '--onnx=my model.onnx'"
