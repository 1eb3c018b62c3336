import subprocess
import sys
from typing import Any

import pytest

from tests.detq_deploy.trt.contract.double import Double
from tests.detq_deploy.trt.contract.install import environment
from tests.detq_deploy.trt.contract.signatures import offer_of
from tests.detq_deploy.trt.contract.versions import Version


def log_of(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kept: list[str] = []

    return Log()


def test_what_exists_is_written_down_and_answered(double: Double) -> None:
    import tensorrt as trt

    builder = trt.Builder(log_of(trt))
    config = builder.create_builder_config()
    double.answers["IBuilderConfig.get_memory_pool_limit"] = lambda config, pool: int(pool) + 7
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 7
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    assert isinstance(config, trt.IBuilderConfig)
    assert double.values("IBuilderConfig.profiling_verbosity=") == [config.profiling_verbosity]


def test_what_a_version_lacks_raises(double: Double) -> None:
    import tensorrt as trt

    config = trt.Builder(log_of(trt)).create_builder_config()
    eight = double.version.version.startswith("8")
    eleven = double.version.version.startswith(("11", "1.7"))
    assert hasattr(config, "max_workspace_size") == eight
    assert hasattr(trt.BuilderFlag, "INT8") != eleven
    assert hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") != eight
    with pytest.raises(AttributeError, match="no_such_thing"):
        config.no_such_thing = 1
    with pytest.raises(TypeError, match="was given"):
        config.set_flag(3)
    with pytest.raises(TypeError, match="was given"):
        config.set_flag(flg=trt.BuilderFlag.TF32)
    with pytest.raises(TypeError, match="No constructor"):
        trt.IBuilderConfig()
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = 1 << trt.BuilderFlag.TF32


def test_a_subclass_calls_the_constructor_of_its_base(double: Double) -> None:
    import tensorrt as trt

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

    with pytest.raises(TypeError, match="must be called"):
        Log()


# pybind11-stubgen leaves out what can only be set; we set none of it.
UNNAMED = {"Builder.gpu_allocator", "Runtime.gpu_allocator", "IExecutionContext.device_memory"}

USED = {"Builder", "IBuilderConfig", "INetworkDefinition", "OnnxParser", "Runtime", "ICudaEngine"}
USED |= {"IExecutionContext", "EngineInspector", "IOptimizationProfile", "ITimingCache"}

_NAMES = """
import importlib, sys
module = importlib.import_module(sys.argv[1])
for name, kind in vars(module).items():
    if isinstance(kind, type) and kind.__module__.startswith(sys.argv[1]):
        for part in dir(kind):
            print(f"{name}.{part}")
"""


def test_signatures_name_everything_that_the_bindings_have(version: Version) -> None:
    if version.not_importable:
        pytest.skip(version.not_importable)
    done = subprocess.run(
        [sys.executable, "-c", _NAMES, version.module],
        env=environment(version),
        capture_output=True,
        text=True,
        check=True,
    )
    offer = offer_of(version)
    real = {line for line in done.stdout.split() if "._" not in line}
    ours = set()
    for name in USED:
        for kind in _with_bases(version, name):
            found = offer.classes[kind]
            ours |= {f"{name}.{part}" for part in (*found.methods, *found.properties)}
    assert {name for name in real if name.partition(".")[0] in USED} - ours <= UNNAMED
    assert {name for name in ours - real if "._" not in name} == set()


def _with_bases(version: Version, name: str) -> list[str]:
    classes = offer_of(version).classes
    bases = [base for base in classes[name].bases if base in classes]
    return [name, *(found for base in bases for found in _with_bases(version, base))]
