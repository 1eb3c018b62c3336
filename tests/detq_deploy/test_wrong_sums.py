import os
import subprocess
import sys
from pathlib import Path

import pytest

from detq.errors import InputError
from detq.graph.files import save_model
from detq.numerics import ACTIVATIONS, WEIGHTS, WEIGHTS_7_BIT, Grid
from detq_deploy.cpu import cpu_features
from detq_deploy.cpu_targets import KERNELS
from detq_deploy.saturation import probe, probe_model
from detq_deploy.signed_concat import adds_up, trial_model
from detq_deploy.wrong_sums import cautions

AVX2 = """
import sys
from pathlib import Path
from detq_deploy.wrong_sums import cautions
print(list(cautions(Path(sys.argv[1]), "openvino")))
"""


def saved(grid: Grid, folder: Path) -> Path:
    path = folder / f"{grid.bits}.onnx"
    save_model(probe_model(grid), path)
    return path


@pytest.mark.parametrize("engine", sorted(KERNELS))
def test_wide_weights_follow_the_trial_here(engine: str, tmp_path: Path) -> None:
    told = list(cautions(saved(WEIGHTS, tmp_path), engine))
    assert len(told) == probe(engine).saturates


@pytest.mark.parametrize("engine", [*sorted(KERNELS), "torch"])
def test_7_bits_never_overflow(engine: str, tmp_path: Path) -> None:
    assert not list(cautions(saved(WEIGHTS_7_BIT, tmp_path), engine))


def test_a_float_file_has_no_products(float_file: Path) -> None:
    assert not list(cautions(float_file, "openvino"))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list(cautions(tmp_path / "none.onnx", "openvino"))


@pytest.mark.parametrize("grid", [ACTIVATIONS, Grid(shifted=True)], ids=["int8", "uint8"])
@pytest.mark.parametrize("engine", sorted(KERNELS))
def test_joined_int8_follows_the_trial_here(engine: str, grid: Grid, tmp_path: Path) -> None:
    path = tmp_path / "joined.onnx"
    save_model(trial_model(grid), path)
    wrong = engine == "openvino" and grid is ACTIVATIONS and not adds_up()
    told = list(cautions(path, engine))
    line = (
        f"{path}: OpenVINO adds up int8 tensors behind a Concat wrongly here, and what it finds is "
        "wrong; see detq lint --target openvino"
    )
    assert told == [line] * wrong


@pytest.mark.skipif("avx2" not in cpu_features().isa, reason="this CPU has no AVX2 to fall back to")
@pytest.mark.parametrize("grid", [WEIGHTS, WEIGHTS_7_BIT])
def test_an_engine_kept_from_vnni_gets_the_caution(grid: Grid, tmp_path: Path) -> None:
    path = saved(grid, tmp_path)
    printed = subprocess.run(
        [sys.executable, "-c", AVX2, str(path)],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if grid is WEIGHTS:
        assert printed.startswith(f"['{path}: sums of its 8-bit products overflow in OpenVINO")
        assert printed.endswith("write it with --target openvino-avx2']")
    else:
        assert printed == "[]"
