import os
import subprocess
import sys

import numpy as np
import pytest

from detq_deploy.cpu import cpu_features
from detq_deploy.inspect_cpu import INSPECTORS
from detq_deploy.saturation import EXACT_CODE, overflowed, probe, probe_model

WITHOUT_VNNI = """
import tempfile
from pathlib import Path
import numpy as np
from detq.graph.files import save_model
from detq.numerics import WEIGHTS, WEIGHTS_7_BIT
from detq_deploy.openvino_run import OpenVinoRunner
from detq_deploy.saturation import overflowed, probe, probe_model

path = Path(tempfile.mkdtemp()) / "model.onnx"
for grid in (WEIGHTS, WEIGHTS_7_BIT):
    save_model(probe_model(grid), path)
    with OpenVinoRunner(path, threads=1) as run:
        print(overflowed(run(np.ones((1, 64, 8, 8), np.float32))["outputs"]))
print(probe("openvino").saturates)
"""


def codes_of_the_sums(products: np.ndarray, pairs_saturate: bool) -> float:
    """One output code of the probe: sums of u8 * s8, exact or with 16-bit pairs."""
    pairs = products.reshape(-1, 2).sum(axis=1)
    if pairs_saturate:
        pairs = np.clip(pairs, -(2**15), 2**15 - 1)
    scale = probe_model().graph.initializers["weight.scale"].const_value.numpy()[0] / 255
    return float(pairs.sum() * scale)


@pytest.mark.parametrize("pairs_saturate", [False, True])
def test_the_decision_against_integer_arithmetic(pairs_saturate: bool) -> None:
    weights = probe_model().graph.initializers["weight"].const_value.numpy()
    products = np.int64(255) * weights[0].ravel().astype(np.int64)
    code = codes_of_the_sums(products, pairs_saturate)
    assert overflowed(np.full((1, 64, 6, 6), np.float32(code))) is pairs_saturate
    if not pairs_saturate:
        assert code == pytest.approx(EXACT_CODE, abs=1e-3)


@pytest.mark.parametrize(("steps", "wrong"), [(0, False), (-1, False), (1, False), (-2, True)])
def test_one_step_is_a_tie_and_two_are_not(steps: int, wrong: bool) -> None:
    outputs = np.full((1, 64, 6, 6), EXACT_CODE, np.float32)
    outputs[0, 3, 2, 1] += steps
    assert overflowed(outputs) is wrong


@pytest.mark.parametrize("engine", sorted(INSPECTORS))
def test_the_engines_here(engine: str) -> None:
    found = probe(engine)
    assert found.int8, f"{found.engine} ran {found.kernel}"
    if {"avx512_vnni", "avx_vnni", "neon"} & set(cpu_features().isa):
        assert not found.saturates
    assert probe(engine) is found


@pytest.mark.skipif("avx2" not in cpu_features().isa, reason="this CPU has no AVX2 to fall back to")
def test_a_real_engine_kept_from_vnni_saturates_with_8_bits_and_not_with_7() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", WITHOUT_VNNI],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.split() == ["True", "False", "True"]
