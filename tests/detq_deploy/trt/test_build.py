import json
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detq.errors import TargetError, TargetUnavailableError
from detq.graph.files import save_model
from detq_deploy.trt import machine
from detq_deploy.trt.build import build_plan
from detq_deploy.trt.driver import Gpu
from detq_deploy.trt.request import BuildAnswer, BuildRequest, Refusal, Settings
from tests.detq_deploy.lint.sketch import Sketch
from tests.detq_deploy.trt.contract.double import Double

PLAN = b"a plan"


def generation(double: Double) -> int:
    return 11 if not double.version.package else int(double.version.version.partition(".")[0])


@pytest.fixture
def request_(double: Double, tmp_path: Path) -> BuildRequest:
    """What the version can be asked for."""
    s = Sketch()
    save_model(s.done(s.layer(s.pair(s.images))), tmp_path / "model.onnx")
    rtx = not double.version.package
    return BuildRequest(
        onnx=str(tmp_path / "model.onnx"),
        plan=str(tmp_path / "model.engine"),
        product="tensorrt-rtx" if rtx else "tensorrt",
        settings=Settings(
            typing="weak" if generation(double) < 10 else "strong",
            version_compatible=True,
            arch="sm86" if rtx else "",
        ),
    )


@pytest.fixture(autouse=True)
def answers(double: Double) -> None:
    one = {"INetworkDefinition.num_inputs": 1, "INetworkDefinition.num_outputs": 1}
    double.answers |= one | {
        "Builder.build_serialized_network": lambda builder, network, config: PLAN,
        # 8.6 does not say what class this is of
        "ICudaEngine.create_engine_inspector": lambda engine: double.make("EngineInspector"),
        "EngineInspector.get_engine_information": '{"Layers": []}',
        "ITensor.shape": (1, 16, 8, 8),
        "ITensor.name": "images",
        "ITimingCache.serialize": b"timed",
    }


def says(double: Double, **said: str) -> None:
    """A builder that fails and says why."""

    def build(builder: Any, network: Any, config: Any) -> None:
        (log,) = double.values("Builder")
        for severity, text in said.items():
            log.log(double.module.ILogger.Severity.__members__[severity], text)

    double.answers["Builder.build_serialized_network"] = build


@pytest.mark.usefixtures("gpu")
def test_a_file_becomes_a_plan(double: Double, request_: BuildRequest) -> None:
    answer = build_plan(request_)
    assert Path(request_.plan).read_bytes() == PLAN
    assert (answer.plan_bytes, answer.plan_sha256) == (6, sha256(PLAN).hexdigest())
    assert answer.refusals == ()
    assert [binding.shape for binding in answer.inputs] == [(1, 16, 8, 8)]
    assert "VERSION_COMPATIBLE" in answer.flags
    assert answer.machine.tensorrt == double.version.version
    if double.version.package:
        assert (answer.machine.gpu, answer.machine.sm) == ("Orin", "sm87")
        assert (answer.layers, answer.layers_form) == ('{"Layers": []}', "inspector")
        assert double.values("Runtime.deserialize_cuda_engine") == [PLAN]
        if hasattr(double.make("Runtime"), "engine_host_code_allowed"):
            assert double.values("Runtime.engine_host_code_allowed=") == [True]
    else:
        assert (answer.machine.gpu, answer.machine.sm) == ("", "sm86")
        assert (answer.layers, answer.layers_form) == ("", "table")
        assert double.called("Runtime") == []
    assert msgspec.json.decode(msgspec.json.encode(answer), type=BuildAnswer) == answer


@pytest.mark.usefixtures("gpu")
def test_the_builder_is_given_what_was_chosen(double: Double, request_: BuildRequest) -> None:
    build_plan(request_)
    order = [call.name for call in double.calls]
    steps = ["Builder", "Builder.create_network", "OnnxParser.parse_from_file"]
    steps += ["Builder.create_builder_config", "Builder.build_serialized_network"]
    assert [order.index(step) for step in steps] == sorted(order.index(step) for step in steps)


def test_without_a_gpu_tensorrt_is_not_touched(
    double: Double, request_: BuildRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_gpu() -> None:
        raise TargetUnavailableError("there is no NVIDIA driver here")

    monkeypatch.setattr(machine, "require_gpu", no_gpu)
    if not double.version.package:
        assert build_plan(request_).plan_bytes == 6  # needs none
        return
    with pytest.raises(TargetUnavailableError, match="no NVIDIA driver"):
        build_plan(request_)
    assert double.calls == []


def test_8_5_has_all_that_8_6_is_asked(
    double: Double, request_: BuildRequest, gpu: Gpu, data: Path
) -> None:
    """8.5 has no small wheel; what its module offers was written down once."""
    if not double.version.version.startswith("8.6"):
        return
    kept = json.loads((data / "trt-api" / "tensorrt-8.5.3.1.json").read_text())["classes"]
    build_plan(msgspec.structs.replace(request_, settings=Settings(typing="weak")))
    asked = {call.name.rstrip("=") for call in double.calls if "." in call.name}
    assert len(asked) > 10
    offered = {f"{name}.{part}" for name, found in kept.items() for part in found["attrs"]}
    assert asked - offered == set()


@pytest.mark.usefixtures("gpu")
def test_what_the_builder_refuses_is_told(double: Double, request_: BuildRequest) -> None:
    says(double, ERROR="Could not find any implementation for node conv.", WARNING="slow")
    answer = build_plan(request_)
    text = "Could not find any implementation for node conv."
    assert answer.refusals == (Refusal(node="", operator="", text=text),)
    assert answer.warnings == ("slow",)
    assert not Path(request_.plan).exists()
    double.answers["Builder.build_serialized_network"] = lambda *given: None
    assert build_plan(request_).refusals[0].text == "without a reason"


@pytest.mark.usefixtures("gpu")
def test_too_little_memory_has_its_own_remedy(double: Double, request_: BuildRequest) -> None:
    says(double, ERROR="[defaultAllocator.cpp] 1: out of memory")
    with pytest.raises(TargetError, match=r"model.onnx: too little memory.*--workspace"):
        build_plan(request_)


@pytest.mark.usefixtures("gpu")
def test_what_the_parser_refuses_is_not_built(double: Double, request_: BuildRequest) -> None:
    double.answers |= {
        "OnnxParser.parse_from_file": False,
        "OnnxParser.num_errors": 1,
        "OnnxParser.get_error": lambda parser, i: double.make("ParserError"),
        "ParserError.node": 0,
        "ParserError.node_name": "x.q",
        "ParserError.desc": "no",
    }
    assert [refusal.node for refusal in build_plan(request_).refusals] == ["x.q"]
    assert double.called("Builder.build_serialized_network") == []


def test_the_wrong_version_is_told_before_anything_is_built(
    double: Double, request_: BuildRequest, gpu: Gpu
) -> None:
    if not double.version.package:
        return
    other = "trt8.5" if generation(double) >= 10 else "trt10.3"
    with pytest.raises(TargetError, match=r"here is .*detq export model.plain.onnx --target trt"):
        build_plan(msgspec.structs.replace(request_, targets=(other,)))
    assert double.calls == []


@pytest.mark.usefixtures("gpu")
def test_timings_are_kept_beside(double: Double, request_: BuildRequest, tmp_path: Path) -> None:
    asked = msgspec.structs.replace(request_, timing_cache=str(tmp_path / "kept"))
    assert build_plan(asked).warnings == ()
    (kept,) = (tmp_path / "kept").glob("*.timing")
    assert kept.read_bytes() == b"timed"
    kept.write_bytes(b"damaged")
    (warning,) = build_plan(asked).warnings
    assert "is damaged, so everything is timed again" in warning
    assert kept.read_bytes() == b"timed"


@pytest.mark.usefixtures("gpu")
def test_a_cancelled_build_leaves_nothing(double: Double, request_: BuildRequest) -> None:
    cancelled = threading.Event()

    def build(builder: Any, network: Any, config: Any) -> None:
        cancelled.set()

    double.answers["Builder.build_serialized_network"] = build
    with pytest.raises(KeyboardInterrupt):
        build_plan(request_, cancelled=cancelled)
    assert not Path(request_.plan).exists()


@pytest.mark.usefixtures("gpu")
def test_a_plan_that_cannot_be_read_back_has_no_layers(
    double: Double, request_: BuildRequest
) -> None:
    double.answers["Runtime.deserialize_cuda_engine"] = lambda runtime, plan: None
    answer = build_plan(request_)
    assert answer.layers == ""
    assert answer.layers_form == ("none" if double.version.package else "table")
