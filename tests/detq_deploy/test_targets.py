import sys
from itertools import pairwise

import pytest

from detq.errors import TargetError, TargetUnavailableError
from detq.numerics import WEIGHTS
from detq.target import PLAIN, Target
from detq_deploy.parser_operators import OPERATORS
from detq_deploy.saturation import probe
from detq_deploy.targets import JETPACKS, TARGETS, TENSORRT, target_named


def test_plain_is_the_simulation() -> None:
    assert target_named("plain") is PLAIN


@pytest.mark.parametrize("target", TENSORRT.values(), ids=TENSORRT)
def test_a_row_of_the_table(target: Target) -> None:
    assert target.source and target.note and target.version
    assert (target.weights, target.unsigned_activations) == (WEIGHTS, False)
    assert target.opset <= target.opset_ceiling
    assert {"Conv", "QuantizeLinear", "DequantizeLinear"} <= target.operators
    major = int(target.version.split(".")[0]) if target.engine == "tensorrt" else 11
    weak = major < 10
    assert target.strongly_typed is not weak
    assert target.int8_initializers is not weak
    assert ("float16" in target.scale_types) is not weak
    assert target.opset == (13 if weak else 19)
    assert (target.dla == "cache") is (target.build > 0)


def test_dla_is_reached_by_a_cache_until_10_7() -> None:
    assert [name for name, target in TENSORRT.items() if target.dla == "cache"] == [
        "trt8.4", "trt8.5", "trt8.6", "trt10.3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "build"), [("8.4.1", 8401), ("8.5.2", 8502), ("8.6.2", 8602), ("10.3.0", 100300)]
)
def test_build_numbers_are_made_of_the_version(version: str, build: int) -> None:
    major, minor, patch = map(int, version.split("."))
    place = 10000 if major >= 10 else 1000
    assert target_named(f"trt{major}.{minor}").build == build
    assert build == place * major + 100 * minor + patch


@pytest.mark.parametrize(("alias", "name"), JETPACKS.items())
def test_a_jetpack_is_the_tensorrt_it_comes_with(alias: str, name: str) -> None:
    assert target_named(alias) is TENSORRT[name]


def test_parsers_learn_and_do_not_forget() -> None:
    known = list(OPERATORS.values())
    for older, newer in pairwise(known):
        assert older < newer
    assert "HardSwish" not in OPERATORS["8.5"] and "HardSwish" in OPERATORS["8.6"]


def test_an_unknown_target() -> None:
    with pytest.raises(TargetError, match=f"one of {', '.join(TARGETS)}"):
        target_named("toaster")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_engine_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    probe.cache_clear()
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TargetUnavailableError, match=f"pip install {name}"):
        target_named(name)
