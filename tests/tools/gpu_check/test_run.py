import json
import sys
from pathlib import Path

import msgspec
import pytest

from detq.errors import InputError
from detq_deploy.targets import TENSORRT
from detq_deploy.trt.machine import Machine
from tools.gpu_check import run as gpu_run
from tools.gpu_check.__main__ import main
from tools.gpu_check.prepare import MANIFEST, Manifest
from tools.gpu_check.questions import QUESTIONS, write_questions

H200 = Machine(product="tensorrt", tensorrt="8.5.3.1", gpu="NVIDIA H200", sm="sm90")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As ``prepare`` leaves it, but for the models."""
    write_questions(tmp_path)
    manifest = Manifest(target="trt8.5", references={"person": {}}, rtx={"person": "no room"})
    (tmp_path / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return tmp_path


@pytest.mark.parametrize("half", ["run", "all"])
def test_what_is_missing_is_one_line(
    half: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("tensorrt", "tensorrt_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main([half, str(tmp_path), "--data", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gpu-check: TensorRT is not installed (")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_fails_stops_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_run, "this_machine", lambda: H200)
    output = folder / "result.json"
    assert main(["run", str(folder), "--output", str(output)]) == 0
    found = json.loads(output.read_text())
    assert found["title"] == "TensorRT 8.5.3.1 on NVIDIA H200 (sm90)"
    forms = [f"person {form}: {step}" for form in ("fp32", "fp16", "int8")
             for step in ("build", "score")]  # fmt: skip
    others = [f"person: {step}" for step in ("bench", "ways to CUDA", "TensorRT-RTX")]
    questions = [f"question {name}" for name in QUESTIONS]
    assert list(found)[3:] == [*forms, *others, *questions]
    assert "no such file" in found["person int8: build"]["failed"]
    assert found["person: TensorRT-RTX"] == {"not_built": "no room"}
    out, err = capsys.readouterr()
    assert f"{len(forms) + 2 + len(questions)} steps failed" in out
    assert err.splitlines() == [*forms, *others, *questions]


def test_a_folder_of_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_run, "this_machine", lambda: H200)
    with pytest.raises(InputError, match="cannot be read"):
        gpu_run.run(tmp_path, tmp_path / "out.json", own_kernels=False, quiet=True)
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(InputError, match="is no manifest"):
        gpu_run.run(tmp_path, tmp_path / "out.json", own_kernels=False, quiet=True)


def test_forms_are_typed_as_the_target_is() -> None:
    weak = gpu_run._forms(Path("home"), TENSORRT["trt8.5"], own_kernels=True)
    assert {form: settings.typing for form, (_, settings) in weak.items()} == {
        "fp32": "weak", "fp16": "weak", "int8": "weak",
    }  # fmt: skip
    assert [(s.fp16, s.int8, s.own_kernels) for _, s in weak.values()] == [
        (False, False, True), (True, False, True), (True, True, True),
    ]  # fmt: skip
    assert weak["int8"][0] == Path("home/model.trt8.5.onnx")
    strong = gpu_run._forms(Path("home"), TENSORRT["trt10.3"], own_kernels=False)
    assert strong["int8"][1].typing == "strong"
