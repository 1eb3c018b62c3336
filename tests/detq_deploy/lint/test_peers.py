"""Lint finds the known faults in what other tools write with their defaults.

Each tool is installed in an environment of its own in the folder DETQ_PEERS (``make
test-peers``), over the packages of this one. The patterns of these files are in
``test_rules.py`` by hand.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")

from detq.dialects import write_float
from detq.graph.files import save_model
from detq_deploy.lint import lint_file
from detq_deploy.nvidia.audit import audit
from detq_deploy.targets import target_named
from tests.steps import merged

PROGRAM = Path(__file__).with_name("peer_program.py")
PACKAGES = {
    "onnxruntime": (),  # is here
    "nncf": ("nncf==3.4.0",),
    "modelopt": ("nvidia-modelopt[onnx]==0.47.0",),
    # Not its dependencies: another torch would come with them.
    "ultralytics": (
        "--no-deps", "ultralytics==8.4.190", "torchvision", "matplotlib", "pillow", "requests",
        "psutil", "urllib3", "idna", "certifi", "charset-normalizer",
    ),
}  # fmt: skip
# Tool → rules that its file breaks.
FAULTS = {
    "onnxruntime": {"zero-point", "bias", "decode", "boxes-and-scores", "concat-scales"},
    "nncf": {"unsigned", "decode", "shape-operator", "transposed", "concat-scales"},
    "modelopt": {"float32-body", "transposed", "float-island"},
    "ultralytics": {"zero-point", "bias", "q-before-activation", "shape-operator", "decode"},
}
# Tool → what NVIDIA's parser refuses.
REFUSED = {"onnxruntime", "ultralytics"}


@pytest.fixture(scope="session")
def environments() -> Path:
    folder = os.environ.get("DETQ_PEERS")
    if not folder:
        pytest.skip("other tools are not wanted: set DETQ_PEERS to a folder for them")
    return Path(folder).absolute()


def interpreter(environments: Path, tool: str) -> Path:
    if not PACKAGES[tool]:
        return Path(sys.executable)
    folder = environments / tool
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.is_file():
        venv.create(folder, with_pip=True)
        here = sysconfig.get_paths()
        (Path(_purelib(python)) / "base.pth").write_text(here["purelib"] + "\n")
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES[tool]],
            check=True,
        )
        ready.touch()
    return python


def _purelib(python: Path) -> str:
    program = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    return subprocess.run([python, "-c", program], capture_output=True, text=True).stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("tool", PACKAGES)
def test_the_faults_of_other_tools_are_found(environments: Path, tool: str, tmp_path: Path) -> None:
    source, output = tmp_path / "float.onnx", tmp_path / f"{tool}.onnx"
    save_model(write_float(merged("tiny_detector"), batch=1), source)
    command = [interpreter(environments, tool), PROGRAM, tool, source, output]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = lint_file(output, target_named("trt-rtx"))
    assert {finding.rule for finding in found.findings} >= FAULTS[tool]
    told = audit(output, found)
    assert bool({f.rule for f in told.findings} & {"nvidia-refused"}) is (tool in REFUSED)
    assert [layer.node for layer in told.layers if layer.fell_back] == []
