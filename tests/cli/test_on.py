"""From an ONNX file here to its figures on a device over there: ``build``, ``eval``, ``bench``."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("asyncssh", reason="asyncssh is not installed: pip install 'detq[remote]'")

from tests.cli.calls import Detq, Tiny
from tests.detq_deploy.remote.conftest import at_home
from tests.detq_deploy.remote.with_tensorrt import install_tensorrt
from tests.loopback import SSHD, Device, asyncssh_device, openssh_device


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    server = asyncssh_device if SSHD is None else openssh_device
    with server(tmp_path / "device") as device:
        at_home(device, monkeypatch)
        install_tensorrt(device)
        yield device


def test_built_scored_and_timed_over_there(
    detq: Detq, tiny: Tiny, jetson: Device, tmp_path: Path
) -> None:
    onnx, engine = tiny.model("float"), tmp_path / "float.engine"
    words = ["--target", "trt10.3", "--on", jetson.on, "--output", engine]
    built = detq("build", onnx, *words, "--json").done()
    figures = json.loads(built.out)
    assert figures["on"] == jetson.on
    assert figures["engine_json"]["machine"]["gpu"] == "Orin"
    assert all(gap["cosine"] > 0.9999 for gap in figures["outputs"])  # run and compared, too
    assert "[I] Engine built in 12.5 sec." in built.err
    assert f"float.onnx is on {jetson.on}, " in built.err
    assert "float.engine is here, " in built.err

    truth = ["--data", tiny.data.coco, "--json"]
    here = json.loads(detq("eval", onnx, *truth).done().out)
    boxes = tmp_path / "boxes.json"
    there = json.loads(
        detq("eval", engine, *truth, "--on", jetson.on, "--detections", boxes).done().out
    )
    assert there["AP"] == here["AP"]  # the same arithmetic, so the same boxes
    assert there["engine"].startswith("TensorRT 10.3.0 on Orin (sm87) at 127.0.0.1")
    assert there["isa"] == "sm87"
    assert json.loads(boxes.read_text())

    timed = json.loads(
        detq("bench", engine, engine, "--on", jetson.on, "--rounds", "2", "--json").done().out
    )
    assert [t["path"] for t in timed["timings"]] == [str(engine)] * 2
    assert timed["timings"][0]["gpu_ms"]["median"] > 0


def test_an_unknown_host_is_one_line(detq: Detq, tiny: Tiny, jetson: Device) -> None:
    (jetson.user_home / ".ssh" / "known_hosts").unlink()
    words = ["build", tiny.model("float"), "--target", "trt10.3", "--on", jetson.on]
    line = detq(*words).refused("none is known", "ssh-keyscan")
    assert jetson.on in line


def test_what_makes_no_sense_over_there_is_refused(detq: Detq, tiny: Tiny) -> None:
    onnx = tiny.model("float")
    onto = ["--on", "me@nobody.invalid"]
    detq("build", onnx, "--target", "trt10.3", "--beside", onnx, *onto).refused("detq bench --on")
    detq("bench", onnx, "--profile", "x.json", *onto).refused("--profile", "works here alone")
    detq("bench", *onto).refused("no model to time")
    detq("eval", onnx, "--data", tiny.data.coco, "--on", "me@").refused("is no device")
    detq("eval", onnx, "--data", tiny.data.coco, *onto).refused("no such host")
