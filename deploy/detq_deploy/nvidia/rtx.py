"""TensorRT-RTX: NVIDIA's own parser and builder, which need no GPU.

It is of the TensorRT 11 generation and reads the same ONNX, so that what it refuses, fuses and
compiles as INT8 is the nearest to TensorRT itself that a machine without a GPU can know. It has
no plugins, no INT8 convolutions before SM80, and its plans run in TensorRT-RTX alone.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import msgspec

from detq.errors import InputError, TargetError, TargetUnavailableError
from detq.graph.files import DETECTOR, detector_from_metadata, load_model
from detq_deploy.nvidia.layer_table import Kernel, kernels_from_log
from detq_deploy.nvidia.rtx_worker import BuildAnswer, BuildRequest, Refusal

Arch = Literal["sm80", "sm86", "sm89", "sm120", "sm121"]
ARCHITECTURES: tuple[str, ...] = get_args(Arch)

_COMMAND = [sys.executable, "-m", "detq_deploy.nvidia.rtx_worker"]
_LONGEST = 600.0  # seconds; the largest YOLOv6 takes a few
_NOT_INSTALLED = 3


@dataclass(frozen=True)
class Build:
    """A network as NVIDIA compiled it, or why not.

    Attributes:
        version: of TensorRT-RTX.
        arch: it was compiled for.
        refusals: none if it was built.
        warnings: NVIDIA's.
        plan_bytes: size of the plan.
        kernels: its layer table.
    """

    version: str
    arch: str
    refusals: tuple[Refusal, ...]
    warnings: tuple[str, ...]
    plan_bytes: int
    kernels: tuple[Kernel, ...]


def build_rtx(path: Path, arch: Arch = "sm86", *, plan: Path | None = None) -> Build:
    """Parse and compile an ONNX file for one architecture, in a process of its own.

    A batch that varies is built for one image; other sizes that vary for those the file says
    its detector is made for.

    Args:
        path: ONNX file.
        arch: of the GPU, such as ``sm86`` (RTX 30, A10, A40).
        plan: where to write what TensorRT-RTX can run; nowhere if not given.

    Raises:
        InputError: no such file, not ONNX, no such architecture, or sizes that vary unsaid.
        TargetUnavailableError: TensorRT-RTX is not installed.
        TargetError: the builder crashed, or took too long.
    """
    if arch not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise InputError(f"no architecture {arch!r}", where="--arch", hint=f"one of {known}")
    request = BuildRequest(
        path=str(path.absolute()),
        arch=arch,
        shapes=dict(fixed_shapes(path)),
        plan=str(plan.absolute()) if plan else "",
    )
    answer = _ask(request, path)
    return Build(
        answer.version,
        arch,
        answer.refusals,
        answer.warnings,
        answer.plan_bytes,
        kernels_from_log(answer.table),
    )


def fixed_shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Shapes to build for, of the inputs with sizes that vary.

    Raises:
        InputError: no such file, not ONNX, or sizes that vary and are said nowhere.
    """
    model = load_model(path)
    found: dict[str, tuple[int, ...]] = {}
    for value in model.graph.inputs:
        dims = [] if value.shape is None else list(value.shape)
        if value.shape is not None and all(isinstance(dim, int) for dim in dims):
            continue
        if DETECTOR in model.metadata_props and len(dims) == 4:
            height, width = detector_from_metadata(model.metadata_props, str(path)).size
            dims[2:] = [height, width]
        shape = tuple(dim if isinstance(dim, int) else None for dim in [1, *dims[1:]])
        if None in shape or not dims:
            raise InputError(
                f"sizes of {value.name} vary, and the file does not say for which to build",
                where=str(path),
                hint="write the file for one size: detq export --size",
            )
        found[str(value.name)] = tuple(dim for dim in shape if dim is not None)
    return found


def _ask(request: BuildRequest, path: Path) -> BuildAnswer:
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        try:
            done = subprocess.run(
                [*_COMMAND, str(answer)],
                input=msgspec.json.encode(request),
                capture_output=True,
                timeout=_LONGEST,
                check=False,
                # A file of the user's folder must not stand in for one of our packages.
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        except subprocess.TimeoutExpired as error:
            raise TargetError(
                f"TensorRT-RTX gave no answer in {_LONGEST:.0f} s", where=str(path)
            ) from error
        if done.returncode == _NOT_INSTALLED:
            raise TargetUnavailableError(
                "TensorRT-RTX is not installed", hint="pip install 'detq[trt-check]'"
            )
        if done.returncode != 0:
            raise TargetError(
                f"TensorRT-RTX stopped: {_cause(done)}",
                where=str(path),
                hint="the file may still build in TensorRT; detq lint says what is unusual in it",
            )
        return msgspec.json.decode(answer.read_bytes(), type=BuildAnswer)


def _cause(done: "subprocess.CompletedProcess[bytes]") -> str:
    code = done.returncode
    name = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    return f"{name}, {last}" if last else name
