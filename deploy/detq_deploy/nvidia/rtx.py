"""TensorRT-RTX: NVIDIA's own parser and builder, which need no GPU.

It is of the TensorRT 11 generation and reads the same ONNX, so that what it refuses, fuses and
compiles as INT8 is the nearest to TensorRT itself that a machine without a GPU can know. It has
no plugins, no INT8 convolutions before SM80, and its plans run in TensorRT-RTX alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from detq.errors import InputError
from detq_deploy.nvidia.kernel import Kernel
from detq_deploy.nvidia.layer_table import kernels_from_log
from detq_deploy.trt.build_process import build_apart
from detq_deploy.trt.profiles import profiles_for
from detq_deploy.trt.request import BuildRequest, Profile, Refusal, Settings

Arch = Literal["sm80", "sm86", "sm89", "sm120", "sm121"]
ARCHITECTURES: tuple[str, ...] = get_args(Arch)

LONGEST = 600.0  # seconds; the largest YOLOv6 takes a few


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
    request = rtx_request(path, arch, plan=plan, profiles=profiles_for(path))
    answer = build_apart(request, longest=LONGEST)
    return Build(
        answer.machine.tensorrt,
        arch,
        answer.refusals,
        answer.warnings,
        answer.plan_bytes,
        kernels_from_log(answer.layers),
    )


def rtx_request(
    path: Path, arch: Arch, *, plan: Path | None = None, profiles: Sequence[Profile] = ()
) -> BuildRequest:
    """What ``build_rtx`` asks for.

    Raises:
        InputError: no such architecture.
    """
    if arch not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise InputError(f"no architecture {arch!r}", where="--arch", hint=f"one of {known}")
    return BuildRequest(
        onnx=str(path.absolute()),
        plan=str(plan.absolute()) if plan else "",
        product="tensorrt-rtx",
        settings=Settings(arch=arch),
        profiles=tuple(profiles),
    )
