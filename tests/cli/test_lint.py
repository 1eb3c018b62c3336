import json
from pathlib import Path

import pytest

from detq.cli.app import main
from detq.graph.files import save_model
from detq_deploy.nvidia.rtx import ARCHITECTURES
from tests.detq_deploy.lint.sketch import Sketch


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    s = Sketch()
    save_model(s.done(s.relu(s.layer(s.pair(s.images), size=3))), tmp_path / "clean.onnx")
    return tmp_path / "clean.onnx"


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    s = Sketch()
    x = s.images
    for i in range(5):
        x = s.relu(s.pair(s.layer(s.pair(x, zero=3, name=f"x{i}"), f"layer{i}"), name=f"y{i}"))
    save_model(s.done(x), tmp_path / "faulty.onnx")
    return tmp_path / "faulty.onnx"


def test_a_clean_file_ends_with_0(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(clean)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "plain: 1 of 2 layers predicted INT8, 2 tensors between INT8 and float"
    ]


def test_errors_end_with_1_and_are_told_by_rule(
    faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", str(faulty), "--target", "jetpack6.2"]) == 1
    out = capsys.readouterr().out
    assert "error zero-point: 10 nodes; quantize symmetrically" in out
    assert "  x0.q: zero point 3\n" in out and "  and 7 more\n" in out
    assert "  source: parsed with TensorRT-RTX" in out
    assert out.index("error zero-point") < out.index("warning q-before-activation: 5 nodes")


def test_warnings_alone_end_with_0(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(clean), "--target", "trt10.3"]) == 0
    assert "warning float32-body" in capsys.readouterr().out


def test_json_has_every_finding(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(faulty), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["errors"] == 10
    first = told["lint"]["findings"][0]
    assert (first["rule"], first["severity"], first["node"]) == ("zero-point", "error", "x0.q")
    assert first["source"] and first["remedy"]
    assert told["lint"]["int8"]["layer0"] is True
    assert told["lint"]["boundaries"][0] == {
        "tensor": "images", "to_int8": True, "reader": "layer0"
    }  # fmt: skip
    assert told["nvidia"] is None


def test_nvidia_compiles_the_file_too(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.util import find_spec

    code = main(["lint", str(clean), "--nvidia", "--arch", "sm89"])
    told = capsys.readouterr()
    if find_spec("tensorrt_rtx_bindings") is None:
        assert code == 2
        assert "pip install 'detq[trt-check]'" in told.err
        return
    assert code == 0
    assert "for sm89: 1 of 2 layers compiled as INT8" in told.out
    assert "0 layers otherwise than predicted" in told.out


def test_a_users_mistakes_end_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s = Sketch()
    save_model(s.raw({"outputs": s.relu(s.images)}), tmp_path / "float.onnx")
    assert main(["lint", str(tmp_path / "float.onnx")]) == 2
    assert "it is a float model (quantize it: detq quantize" in capsys.readouterr().err
    assert main(["lint", str(tmp_path / "none.onnx")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["lint", str(tmp_path / "float.onnx"), "--target", "trt7"]) == 2
    assert "trt8.5" in capsys.readouterr().err


def test_the_architectures_offered_are_those_that_build() -> None:
    from typing import get_args

    from detq.cli.lint import Arch

    assert get_args(Arch) == ARCHITECTURES
