from pathlib import Path
from typing import Any

import msgspec
import pytest

from detq.errors import InputError, TargetError
from detq_deploy.trt.config import Configured, configure, flags_of
from detq_deploy.trt.request import BuildRequest, Settings, Shapes
from tests.detq_deploy.trt.contract.double import Double

WEAK = Settings(typing="weak")


def configured(double: Double, settings: Settings, **request: Any) -> Configured:
    asked = BuildRequest(onnx="model.onnx", settings=settings, **request)
    return configure(double.make("Builder"), asked, None)


def generation(double: Double) -> int:
    return 11 if not double.version.package else int(double.version.version.partition(".")[0])


def test_nothing_asked_is_nothing_set_but_detailed_layers(double: Double) -> None:
    made = configured(double, Settings())
    assert made.flags == ()
    assert double.called("IBuilderConfig.set_flag") == []
    (verbosity,) = double.values("IBuilderConfig.profiling_verbosity=")
    assert verbosity.name == "DETAILED"
    assert double.called("IBuilderConfig.set_memory_pool_limit") == []


def test_int8_comes_with_float16_in_weakly_typed_networks() -> None:
    assert flags_of(WEAK) == ("FP16", "INT8")
    assert flags_of(msgspec.structs.replace(WEAK, int8=False)) == ("FP16",)
    assert flags_of(Settings()) == ()


def test_precision_flags_are_set_where_they_exist(double: Double) -> None:
    if generation(double) >= 11:
        with pytest.raises(TargetError, match=r"--typing weak: .* has no BuilderFlag.FP16"):
            configured(double, WEAK)
    else:
        configured(double, WEAK)
        assert [flag.name for flag in double.values("IBuilderConfig.set_flag")] == ["FP16", "INT8"]


def test_every_choice_reaches_the_builder(double: Double) -> None:
    made = configured(
        double,
        Settings(
            workspace_mib=512,
            optimization_level=5,
            version_compatible=True,
            hardware="ampere",
            sparse=True,
        ),
    )
    names = [flag.name for flag in double.values("IBuilderConfig.set_flag")]
    assert names == list(made.flags) == ["VERSION_COMPATIBLE", "SPARSE_WEIGHTS"]
    (pool,) = double.called("IBuilderConfig.set_memory_pool_limit")
    assert (pool.args[0].name, pool.args[1]) == ("WORKSPACE", 512 << 20)
    assert double.values("IBuilderConfig.builder_optimization_level=") == [5]
    (level,) = double.values("IBuilderConfig.hardware_compatibility_level=")
    assert level.name == "AMPERE_PLUS"


def test_what_came_later_is_refused_earlier(double: Double) -> None:
    settings = Settings(hardware="same-sm")
    if hasattr(double.module.HardwareCompatibilityLevel, "SAME_COMPUTE_CAPABILITY"):
        assert configured(double, settings)
    else:
        with pytest.raises(TargetError, match=r"--hardware-compatible: TensorRT .* has no"):
            configured(double, settings)


def test_an_architecture_is_named_to_rtx_alone(double: Double) -> None:
    settings = Settings(arch="sm86")
    if double.version.package:
        with pytest.raises(TargetError, match=r"--arch: TensorRT .* cannot do that"):
            configured(double, settings)
        return
    configured(double, settings)
    assert double.values("IBuilderConfig.num_compute_capabilities=") == [1]
    (call,) = double.called("IBuilderConfig.set_compute_capability")
    assert (call.args[0].name, call.args[1]) == ("SM86", 0)
    with pytest.raises(TargetError, match=r"has no ComputeCapability.SM87"):
        configured(double, Settings(arch="sm87"))


def test_dla_takes_what_it_can_and_the_gpu_the_rest(double: Double) -> None:
    double.answers["Builder.num_DLA_cores"] = 2
    made = configured(double, Settings(dla_core=1))
    assert made.flags == ("GPU_FALLBACK",)
    assert double.values("IBuilderConfig.default_device_type=") == [double.module.DeviceType.DLA]
    assert double.values("IBuilderConfig.DLA_core=") == [1]
    with pytest.raises(TargetError, match="no DLA core 2: this TensorRT and GPU have 2"):
        configured(double, Settings(dla_core=2))
    spans = Shapes(least=(1, 3), usual=(1, 3), most=(8, 3))
    with pytest.raises(TargetError, match="DLA takes one shape alone"):
        configured(double, Settings(dla_core=0), profiles=({"images": spans},))


def test_a_calibration_cache_gives_the_scales(double: Double, tmp_path: Path) -> None:
    cache = tmp_path / "model.cache"
    cache.write_bytes(b"TRT-8600-EntropyCalibration2\nimages: 3c010a14\n")
    asked = str(cache)
    if generation(double) >= 11:
        with pytest.raises(TargetError, match="takes no calibration cache"):
            configured(double, Settings(), calibration_cache=asked)
        return
    made = configured(double, WEAK, calibration_cache=asked)
    (calibrator,) = double.values("IBuilderConfig.int8_calibrator=")
    assert made.kept == (calibrator,)
    assert calibrator.read_calibration_cache() == cache.read_bytes()
    assert calibrator.get_batch(["images"]) is None
    assert calibrator.get_batch_size() == 1
    calibrator.write_calibration_cache(b"other")
    assert calibrator.read_calibration_cache() == cache.read_bytes()
    with pytest.raises(InputError, match="cannot be read"):
        configured(double, WEAK, calibration_cache=str(tmp_path / "none"))


def test_a_monitor_is_told_where_one_can_be(double: Double) -> None:
    if not hasattr(double.module, "IProgressMonitor"):
        return
    monitor = double.make("IProgressMonitor")
    made = configure(double.make("Builder"), BuildRequest(onnx="m"), monitor)
    assert double.values("IBuilderConfig.progress_monitor=") == [monitor]
    assert made.kept == (monitor,)
