import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = (
    ROOT / "detq",
    ROOT / "yolov6_adapter",
    ROOT / "ultralytics_adapter",
    ROOT / "onnx_adapter",
    ROOT / "deploy" / "detq_deploy",
    ROOT / "eval" / "detq_eval",
)
HEAVY = {"cv2", "numpy", "onnx", "onnx_ir", "onnxruntime", "openvino", "pycocotools", "torch"}

# All else must load where torch is missing: there files are evaluated, timed and run.
NEED_TORCH = {
    "detq.channel_clip",
    "detq.channel_trial",
    "detq.graph.execute",
    "detq.graph.foreign_ops",
    "detq.graph.ops",
    "detq.graph.torch_runner",
    "detq.learn",
    "detq.learn.across_blocks",
    "detq.learn.adaround",
    "detq.learn.bias_correction",
    "detq.learn.cut",
    "detq.learn.descend",
    "detq.learn.finished",
    "detq.learn.fold",
    "detq.learn.head_error",
    "detq.learn.in_order",
    "detq.learn.int8_layers",
    "detq.learn.learned",
    "detq.learn.objective",
    "detq.learn.qprep",
    "detq.learn.qprep_learned",
    "detq.learn.reconstruct",
    "detq.learn.rounding",
    "detq.learn.state",
    "detq.learn.store",
    "detq.learn.straight_through",
    "detq.learn.trainables",
    "detq.learn.units",
    "detq.observe",
    "detq.observe.checks",
    "detq.observe.collect",
    "detq.tune.confirm",
    "detq.tune.estimate",
    "detq.tune.mixed",
    "detq.tune.probes",
}
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None\n"


def names_of_modules() -> set[str]:
    files = [path.relative_to(root.parent) for root in PACKAGES for path in root.rglob("*.py")]
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files}
    return {name for name in names if not name.endswith(".__main__")}  # runs when imported


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def failures(modules: set[str], before: str = "") -> dict[str, str]:
    program = f"""{before}
import importlib
for name in {sorted(modules)}:
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(name, error, sep="\\t")
"""
    return dict(line.split("\t") for line in python(program).splitlines())


def test_the_package_loads_in_no_time_and_nothing_heavy() -> None:
    program = """
import sys, time
start = time.process_time()
import detq
print(time.process_time() - start, *sys.modules)
"""
    runs = [python(program).split() for _ in range(3)]
    assert min(float(seconds) for seconds, *_ in runs) < 0.15
    assert HEAVY.isdisjoint(runs[0])


def test_the_command_line_starts_without_anything_heavy() -> None:
    program = """
import sys
from detq.cli.app import main
code = main(["--help"])
print(code, *sys.modules)
"""
    *_, last = python(program).splitlines()
    code, *modules = last.split()
    assert code == "0"
    assert HEAVY.isdisjoint(modules)


def test_all_modules_but_the_listed_load_without_torch() -> None:
    modules = names_of_modules()
    assert len(modules) > 50
    assert failures(modules - NEED_TORCH, WITHOUT_TORCH) == {}


def test_the_list_is_not_longer_than_it_must_be() -> None:
    assert names_of_modules() >= NEED_TORCH
    assert set(failures(NEED_TORCH, WITHOUT_TORCH)) == NEED_TORCH


def test_all_modules_load() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    assert failures(names_of_modules()) == {}
