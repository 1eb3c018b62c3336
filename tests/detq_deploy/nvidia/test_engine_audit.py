from pathlib import Path

import pytest

from detq_deploy.nvidia.engine_audit import audit_engine
from detq_deploy.nvidia.inspector import kernels_from_inspector, times_from_profile
from detq_deploy.nvidia.layer_table import kernels_from_log

FILES = Path(__file__).with_name("inspector")
ASKED = {"stem.conv": True, "mid.conv": True, "up.upsample": False, "pred.conv": False}


def test_what_runs_otherwise_than_asked() -> None:
    kernels = kernels_from_inspector((FILES / "trt8.5.json").read_text())
    found = audit_engine(kernels, asked=ASKED, source="TensorRT 8.5")
    assert (found.asked_int8, found.in_float, found.missing) == (2, ("mid.conv",), ())
    told = {layer.nodes[-1]: (layer.asked, layer.got) for layer in found.layers if layer.asked}
    assert told == {
        "stem.act": ("INT8", "Int8"),
        "mid.conv": ("INT8", "Half"),
        "up.upsample": ("float", "Half"),
        "pred.conv": ("float", "Half"),
    }
    # The images have to be rounded by somebody.
    assert found.unfused == ("mid.quantize",)
    assert found.reformats == ("Reformatting CopyNode for Input Tensor 0 to pool",)
    assert found.helpers == 3
    stem, mid, up, pred = 884736, 4718592, 2097152, 163840
    assert (found.macs, found.int8_macs) == (stem + mid + up + pred, stem)
    assert found.int8_share == stem / found.macs
    assert [(f.rule, f.node) for f in found.findings] == [
        ("engine-float", "mid.conv"),
        ("engine-unfused", "mid.quantize"),
    ]
    assert found.findings[0].source == "TensorRT 8.5"
    assert found.total_ms is None


def test_a_layer_that_no_kernel_names() -> None:
    kernels = kernels_from_inspector((FILES / "trt10.json").read_text())
    found = audit_engine(kernels, asked={**ASKED, "gone": True})
    assert (found.in_float, found.missing) == ((), ("gone",))
    assert found.unfused == ("__myl_MulMinMaxRounCast_myl0_4",)
    assert [f.rule for f in found.findings] == ["engine-missing", "engine-unfused"]


def test_times_are_put_to_the_layers() -> None:
    kernels = kernels_from_inspector((FILES / "trt8.5.json").read_text())
    times = times_from_profile((FILES / "profile10.json").read_text())
    found = audit_engine(kernels, times=times)
    assert [layer.ms for layer in found.layers] == pytest.approx([0.09 * n for n in range(1, 10)])
    assert found.total_ms == pytest.approx(0.09 * 45)
    assert found.helper_ms == pytest.approx(0.09 * (1 + 3 + 5))
    assert found.asked_int8 is None
    assert {layer.asked for layer in found.layers} == {""}


def test_names_alone_are_one_finding() -> None:
    kernels = kernels_from_inspector((FILES / "names.json").read_text())
    found = audit_engine(kernels, asked=ASKED)
    assert [f.rule for f in found.findings] == ["engine-names"]
    assert (found.in_float, found.int8_share) == ((), None)


@pytest.mark.parametrize(
    ("file", "share", "unfused"),
    [
        ("n320-float-sm86.txt", 0.0, 0),
        # All but the two transposed convolutions; one of the Q/DQ pairs is the images'.
        ("n320-int8-sm86.txt", 0.9977, 0),
        ("n320-int8-sm75.txt", 0.0, 51),
    ],
)
def test_real_tables(data: Path, file: str, share: float, unfused: int) -> None:
    found = audit_engine(kernels_from_log((data / "trt-layers" / file).read_text()))
    assert found.int8_share == pytest.approx(share, abs=1e-4)
    assert found.macs == pytest.approx(1.416e9, rel=2e-3)  # YOLOv6-N at 320
    assert len(found.unfused) == unfused
