import pytest

from detq.numerics import WEIGHTS, WEIGHTS_7_BIT
from detq_deploy.cpu import CpuFeatures, cpu_features
from detq_deploy.cpu_targets import KERNELS, cpu_target, older_cpu_target
from detq_deploy.saturation import Saturation, probe
from detq_deploy.targets import target_named

OLD_XEON = CpuFeatures("Old Xeon", "x86_64", ("avx", "avx2"), 4, 4)


def trial(saturates: bool) -> Saturation:
    return Saturation("OpenVINO 1.2.3", saturates=saturates, int8=True, kernel="jit_avx2_I8")


def test_weights_lose_a_bit_where_products_overflow() -> None:
    target = cpu_target("openvino", trial(saturates=True), OLD_XEON)
    assert (target.name, target.unsigned_activations, target.weights, target.saturating) == (
        "openvino",
        True,
        WEIGHTS_7_BIT,
        True,
    )
    assert "7-bit weights because" in target.note
    for fact in ("OpenVINO 1.2.3", "jit_avx2_I8", "AVX2", "Old Xeon"):
        assert fact in target.note


def test_weights_keep_8_bits_elsewhere() -> None:
    target = cpu_target("openvino", trial(saturates=False), OLD_XEON)
    assert (target.weights, target.saturating) == (WEIGHTS, False)
    assert "8-bit weights because" in target.note


@pytest.mark.parametrize("engine", sorted(KERNELS))
def test_cpu_targets_follow_the_trial_here(engine: str) -> None:
    assert target_named(engine) == cpu_target(engine, probe(engine), cpu_features())


@pytest.mark.parametrize("engine", sorted(KERNELS))
def test_an_older_machine_can_be_asked_for(engine: str) -> None:
    older = target_named(f"{engine}-avx2")
    assert older == older_cpu_target(engine)
    here = cpu_target(engine, trial(saturates=False), OLD_XEON)
    assert (older.weights, older.engine) == (WEIGHTS_7_BIT, engine)
    assert (older.kernels, older.transposed) == (here.kernels, here.transposed)


@pytest.mark.parametrize("engine", sorted(KERNELS))
def test_signed_tensors_are_stored_unsigned(engine: str) -> None:
    assert target_named(f"{engine}-avx2").shifted_activations
