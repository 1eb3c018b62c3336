import json
from importlib import metadata

import pytest

from detq.extras import extras
from detq_deploy.backends import BACKENDS
from detq_deploy.trt import driver
from detq_deploy.trt.driver import Driver, Gpu, probe_driver
from tests.cli.calls import Detq

CPU_ENGINES = ("onnxruntime", "openvino")


def test_engines_with_version_or_remedy(detq: Detq) -> None:
    figures = json.loads(detq("doctor", "--json").done().out)
    names = [engine["name"] for engine in figures["engines"]]
    assert names == list(dict.fromkeys([*BACKENDS, "tensorrt"]))
    for engine in figures["engines"]:
        installed = engine["name"] in {d.metadata["Name"] for d in metadata.distributions()}
        assert bool(engine["version"]) == installed
        assert (engine["remedy"] == "") == installed
        assert installed or f"pip install {engine['name']}" in engine["remedy"]
        has_answer = engine["name"] in CPU_ENGINES and installed
        assert (engine["saturates"] is None) == (not has_answer)


def test_extras_with_what_to_install(detq: Detq) -> None:
    figures = json.loads(detq("doctor", "--json").done().out)
    told = {extra["name"]: extra for extra in figures["extras"]}
    assert set(told) == {extra.name for extra in extras()}
    for extra in extras():
        assert told[extra.name]["install"] == extra.install


def test_the_gpu_is_that_of_the_driver(detq: Detq, monkeypatch: pytest.MonkeyPatch) -> None:
    found = probe_driver()
    figures = json.loads(detq("doctor", "--json").done().out)
    assert (figures["gpu"] is None) == (found is None)
    assert ("no NVIDIA driver" in detq("doctor").out) == (found is None)
    orin = Driver("540.4.0", "12.6", (Gpu(0, "Orin", "sm87", 62840),))
    monkeypatch.setattr(driver, "probe_driver", lambda: orin)
    text = detq("doctor").done().out
    assert (
        "NVIDIA driver 540.4.0, CUDA 12.6: Orin (sm87, 62,840 MiB, INT8 by tensor cores)\n" in text
    )
    volta = Driver("540.4.0", "12.6", (Gpu(0, "V100", "sm70", 16384), Gpu(1, "TX2", "sm62", 8192)))
    monkeypatch.setattr(driver, "probe_driver", lambda: volta)
    text = detq("doctor").done().out
    assert "V100 (sm70, 16,384 MiB, INT8 without tensor cores: float16 may well be" in text
    assert "TX2 (sm62, 8,192 MiB, no INT8: use float16)" in text
    monkeypatch.setattr(driver, "probe_driver", lambda: Driver("540.4.0", "12.6", ()))
    assert "no GPU; in a container, start it with --gpus all" in detq("doctor").done().out


def test_a_page_for_people(detq: Detq) -> None:
    text = detq("doctor").done().out
    figures = json.loads(detq("doctor", "--json").done().out)
    assert f"INT8 by {figures['isa']}\n" in text
    for engine in figures["engines"]:
        assert f" {engine['name']} " in text
        assert (engine["version"] or "missing") in text
        line = f"\nfor {engine['name']}: {engine['remedy']}\n"
        assert (line in text) == bool(engine["remedy"])
    for extra in figures["extras"]:
        line = f"\nfor {extra['name']}: {extra['install']}\n"
        assert (line in text) == bool(extra["install"])
