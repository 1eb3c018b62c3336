import sys

import pytest

from detq.errors import TargetError, TargetUnavailableError
from detq.numerics import WEIGHTS, WEIGHTS_7_BIT
from detq.target import PLAIN
from detq_deploy.cpu import CpuFeatures, cpu_features
from detq_deploy.saturation import Saturation, probe
from detq_deploy.targets import TARGETS, cpu_target, target_named

OLD_XEON = CpuFeatures("Old Xeon", "x86_64", ("avx", "avx2"), 4, 4)


def trial(saturates: bool) -> Saturation:
    return Saturation("OpenVINO 1.2.3", saturates=saturates, int8=True, kernel="jit_avx2_I8")


def test_weights_lose_a_bit_where_products_overflow() -> None:
    target = cpu_target("openvino", trial(saturates=True), OLD_XEON)
    assert (target.name, target.unsigned_activations, target.weights) == (
        "openvino",
        True,
        WEIGHTS_7_BIT,
    )
    assert "7-bit weights because" in target.note
    for fact in ("OpenVINO 1.2.3", "jit_avx2_I8", "AVX2", "Old Xeon"):
        assert fact in target.note


def test_weights_keep_8_bits_elsewhere() -> None:
    target = cpu_target("openvino", trial(saturates=False), OLD_XEON)
    assert target.weights == WEIGHTS
    assert "8-bit weights because" in target.note


def test_plain_is_the_simulation() -> None:
    assert target_named("plain") is PLAIN


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_cpu_targets_follow_the_trial_here(name: str) -> None:
    assert target_named(name) == cpu_target(name, probe(name), cpu_features())


def test_an_unknown_target() -> None:
    with pytest.raises(TargetError, match=f"one of {', '.join(TARGETS)}"):
        target_named("toaster")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_engine_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    probe.cache_clear()
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TargetUnavailableError, match=f"pip install {name}"):
        target_named(name)
