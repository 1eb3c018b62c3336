from pathlib import Path
from typing import Any

import msgspec
import pytest

from detq_deploy.trt.machine import Machine
from detq_deploy.trt.request import BuildRequest, Settings, Shapes
from detq_deploy.trt.timing_cache import load_timings, save_timings, timing_file
from tests.detq_deploy.trt.contract.double import Double

ORIN = Machine(product="tensorrt", tensorrt="10.3.0", gpu="Orin", sm="sm87", driver="540.3.0")


@pytest.fixture
def config(double: Double) -> Any:
    """A builder's choices that keep the cache they are given; a cache is its bytes."""
    blobs: dict[int, bytes] = {}

    def create(config: Any, blob: bytes) -> Any:
        made = double.make("ITimingCache")
        blobs[id(made)] = bytes(blob)
        config_caches.append(made)  # alive, so that no other has its id
        return made

    def combine(cache: Any, other: Any, mismatch: bool) -> bool:
        blobs[id(cache)] += b"+" + blobs[id(other)]
        return True

    config_caches: list[Any] = []
    double.answers |= {
        "IBuilderConfig.create_timing_cache": create,
        "IBuilderConfig.get_timing_cache": lambda config: double.values(
            "IBuilderConfig.set_timing_cache"
        )[-1],
        "ITimingCache.combine": combine,
        "ITimingCache.serialize": lambda cache: blobs[id(cache)] + b"!",
    }
    return double.make("IBuilderConfig")


def test_timings_are_kept_and_found_again(config: Any, tmp_path: Path) -> None:
    path = tmp_path / "timing" / "m.timing"
    first = load_timings(config, path)
    assert (first.sha256, first.warning) == ("", "")
    save_timings(config, first)
    assert path.read_bytes() == b"!"
    second = load_timings(config, path)
    assert len(second.sha256) == 64
    assert second.warning == ""
    save_timings(config, second)
    assert path.read_bytes() == b"!!"
    assert not list(path.parent.glob(".part-*"))


def test_what_another_build_wrote_meanwhile_is_kept(config: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.timing"
    ours = load_timings(config, path)
    save_timings(config, load_timings(config, path))  # the other one
    assert path.read_bytes() == b"!"
    save_timings(config, ours)
    assert path.read_bytes() == b"+!!"


@pytest.mark.parametrize("harm", ["cut", "other", "no sum"])
def test_a_damaged_file_is_told_and_written_anew(config: Any, tmp_path: Path, harm: str) -> None:
    path = tmp_path / "m.timing"
    save_timings(config, load_timings(config, path))
    if harm == "cut":
        path.write_bytes(b"")
    elif harm == "other":
        path.write_bytes(b"?")
    else:
        (tmp_path / "m.timing.sha256").unlink()
    found = load_timings(config, path)
    assert str(path) in found.warning
    assert found.warning.endswith("so everything is timed again")
    save_timings(config, found)
    assert path.read_bytes() == b"!"
    assert load_timings(config, path).warning == ""


def test_a_cache_that_tensorrt_refuses_is_told(double: Double, config: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.timing"
    save_timings(config, load_timings(config, path))
    double.answers["IBuilderConfig.set_timing_cache"] = lambda config, cache, mismatch: False
    assert "TensorRT refuses it" in load_timings(config, path).warning


def test_only_equal_builds_share_a_file(tmp_path: Path) -> None:
    onnx = tmp_path / "model.onnx"
    onnx.write_bytes(b"a")
    request = BuildRequest(onnx=str(onnx), timing_cache=str(tmp_path))
    kept = timing_file(request, ORIN)
    assert (kept.parent, kept.suffix) == (tmp_path, ".timing")
    assert kept == timing_file(request, ORIN)
    one = Shapes(least=(1,), usual=(1,), most=(1,))
    others = {
        timing_file(msgspec.structs.replace(request, settings=Settings(sparse=True)), ORIN),
        timing_file(msgspec.structs.replace(request, profiles=({"images": one},)), ORIN),
        *(
            timing_file(request, msgspec.structs.replace(ORIN, **{key: "other"}))
            for key in ("tensorrt", "gpu", "sm", "driver", "cuda")
        ),
    }
    onnx.write_bytes(b"b")
    others.add(timing_file(request, ORIN))
    assert len(others) == 8
    assert kept not in others
