"""NVIDIA's layer tables of real networks are those that docs/tensorrt-layers.md tells of."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed")

from tests.detq_deploy.nvidia.forms import DFL, GOLDEN, LITE, N, audited, forms_of, row

TABLE: dict[str, Any] = json.loads(GOLDEN.read_text())
QUICK = {N: ("plain", "trt8.5", "trt10.3"), LITE: ("trt10.3",), DFL: ("trt-rtx",)}
ALL = [
    pytest.param(name, form, marks=() if form in QUICK[name] else pytest.mark.slow)
    for name in TABLE["networks"]
    for form in forms_of(name)
]


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(("name", "form"), ALL)
def test_nvidia_compiles_what_we_predict(data: Path, tmp_path: Path, name: str, form: str) -> None:
    found = audited(data, name, form, tmp_path)
    assert found.findings == ()
    assert f"TensorRT-RTX {found.version}" == TABLE["engine"]
    kept, now = TABLE["networks"][name][form], row(found)
    # Which small kernels are joined may depend on a value; what is INT8 may not.
    moved, before = now.pop("megabytes_moved"), dict(kept).pop("megabytes_moved")
    assert moved == pytest.approx(before, rel=0.02)
    assert {key: now[key] for key in now} == {key: kept[key] for key in now}
    assert now["disagree"] == []
    assert now["compiled_int8"] == now["predicted_int8"] > 0


def test_every_form_is_in_the_table() -> None:
    assert {name: list(rows) for name, rows in TABLE["networks"].items()} == {
        name: forms_of(name) for name in (N, LITE, DFL)
    }


@pytest.mark.usefixtures("rtx")
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm89", "sm120"])
def test_other_architectures_compile_the_same_layers(data: Path, tmp_path: Path, arch: str) -> None:
    found = audited(data, N, "trt10.3", tmp_path, arch)
    kept = TABLE["networks"][N]["trt10.3"]
    assert sum(bool(layer.compiled) for layer in found.layers) == kept["compiled_int8"]
