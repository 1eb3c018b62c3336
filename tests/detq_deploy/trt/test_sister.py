import time
from typing import Any

import msgspec
import numpy as np
import pytest

from detq_deploy.nvidia.engine_audit import EngineAudit
from detq_deploy.trt.request import Settings
from detq_deploy.trt.sister import NOISE, Sized, likely_cause, median_ms, sister_findings

STRONG, WEAK32 = Settings(), Settings(typing="weak", fp16=False)


def audit(**values: Any) -> EngineAudit:
    made = EngineAudit(
        layers=(),
        kinds={},
        asked_int8=60,
        in_float=(),
        missing=(),
        unfused=(),
        reformats=(),
        helpers=10,
        macs=10**11,
        int8_macs=10**11,
        int8_share=1.0,
        total_ms=None,
        helper_ms=None,
        findings=(),
    )
    return msgspec.structs.replace(made, **values)


def int8(ms: float | None = None, size: int = 10_000_000, **values: Any) -> Sized:
    return Sized(size, audit(**values), STRONG, ms)


SISTER = Sized(20_000_000, audit(asked_int8=None), STRONG, 2.0)


def test_smaller_and_faster_is_no_finding() -> None:
    assert sister_findings(int8(1.0), SISTER, "engine") == ()
    assert sister_findings(int8(None), SISTER, "engine") == ()


def test_noise_is_no_finding() -> None:
    assert sister_findings(int8(2.0 * NOISE), SISTER, "engine") == ()
    assert [f.rule for f in sister_findings(int8(2.1), SISTER, "engine")] == ["int8-slower"]


def test_larger_and_slower_are_told_with_figures_and_cause() -> None:
    found = sister_findings(int8(3.0, 30_000_000, helpers=50), SISTER, "TensorRT 10.3.0")
    assert [f.rule for f in found] == ["int8-larger", "int8-slower"]
    assert "30.0 MB, float16 has 20.0 MB" in found[0].what
    assert "3.000 ms, float16 2.000 ms" in found[1].what
    assert all("40 more kernels stand between" in f.what for f in found)
    assert {f.severity for f in found} == {"warning"}


@pytest.mark.parametrize(
    ("one", "cause"),
    [
        (Sized(1, audit(), WEAK32), "layers without Q/DQ run in float32"),
        (Sized(1, None, STRONG), "does not tell"),
        (int8(in_float=("a", "b")), "2 layers that were to be INT8 run in float"),
        (int8(int8_share=0.5), "only 50 % of the products"),
        (int8(helpers=11), "1 more kernels"),
        (int8(macs=10**9), "network is small"),
        (int8(), "no cause that is known"),
    ],
)
def test_the_first_cause_that_is_seen_is_told(one: Sized, cause: str) -> None:
    said, remedy = likely_cause(one, SISTER)
    assert cause in said
    assert remedy


class Sleeping:
    """A runner that takes so long."""

    def __init__(self, seconds: float, order: list[float]) -> None:
        self.seconds, self.order = seconds, order

    def __call__(self, images: Any) -> dict[str, Any]:
        self.order.append(self.seconds)
        time.sleep(self.seconds)
        return {}


def test_medians_are_taken_in_turn() -> None:
    order: list[float] = []
    runs = [Sleeping(0.001, order), Sleeping(0.02, order)]
    quick, slow = median_ms(runs, np.zeros(1), warm_up=2, count=3)  # type: ignore[arg-type]
    assert order == [0.001, 0.001, 0.02, 0.02, *[0.001, 0.02] * 3]
    assert 1 <= quick < slow
    assert slow >= 20
