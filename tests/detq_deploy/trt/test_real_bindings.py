"""What derives from classes of TensorRT's, made of the real ones, without a GPU."""

import os
import subprocess
import sys

import pytest

from tests.detq_deploy.trt.contract.versions import ROOT, Version

PROGRAM = """
import importlib, sys
sys.modules["tensorrt"] = importlib.import_module(sys.argv[1])
import tensorrt as trt
from detq_deploy.trt.allocator import Held, new_allocator
from detq_deploy.trt.runner import new_profiler

class Device:
    def allocate(self, size):
        return 4096 + size

held = Held(Device())
allocator = new_allocator(held)
assert isinstance(allocator, trt.IOutputAllocator)
found = [allocator.reallocate_output("x", 0, 8, 256)]
found.append(allocator.reallocate_output_async("x", 0, 4, 256, 0))
allocator.notify_shape("x", trt.Dims([2, 3]))
times = {}
profiler = new_profiler(times)
assert isinstance(profiler, trt.IProfiler)
profiler.report_layer_time("conv", 0.5)
print(found, held.shape, times, trt.TensorIOMode.INPUT.name, trt.LayerInformationFormat.JSON.name)
"""


def test_every_version_takes_our_classes(version: Version) -> None:
    if version.not_importable:
        pytest.skip(version.not_importable)
    paths = [str(version.site), str(ROOT / "deploy"), str(ROOT)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, version.module],
        env={
            **os.environ,
            "LD_LIBRARY_PATH": str(version.libraries),
            "PYTHONPATH": os.pathsep.join(paths),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == "[4104, 4104] (2, 3) {'conv': [0.5]} INPUT JSON\n"
