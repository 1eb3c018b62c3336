"""What is to be built and how it went: records that cross the border to the building process."""

from pathlib import Path
from typing import Literal

import msgspec

from detq_deploy.trt.load import Product
from detq_deploy.trt.machine import Machine

Typing = Literal["weak", "strong"]
Hardware = Literal["none", "ampere", "same-sm"]


class Shapes(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes of one input that an engine takes.

    Attributes:
        least: of every dimension.
        usual: it is made fast for.
        most: of every dimension.
    """

    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]

    @property
    def fixed(self) -> bool:
        """Whether it takes one shape alone."""
        return self.least == self.most


Profile = dict[str, Shapes]
"""Input whose shape varies → what an engine takes."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Choices of the one who builds.

    Attributes:
        typing: ``strong`` computes every tensor in the type that the file gives it; ``weak``
            lets the builder choose among those that are allowed.
        fp16: allowed, when typing is weak.
        int8: allowed, when typing is weak; Q/DQ says where.
        workspace_mib: memory that a layer may use; 0 leaves it to TensorRT.
        optimization_level: 0 (quick to build) to 5 (quick to run); None is TensorRT's, 3.
        version_compatible: later versions of TensorRT can run it too.
        hardware: other GPUs that can: from Ampere on, or of the same architecture.
        dla_core: of a Jetson; None is the GPU. What DLA cannot do falls back to the GPU.
        sparse: layers of which two of four weights are 0 may use sparse kernels.
        arch: of the GPU to compile for where none is asked, such as ``sm86``: TensorRT-RTX alone.
        own_kernels: none of cuBLAS and cuDNN, for machines where these are not installed.
    """

    typing: Typing = "strong"
    fp16: bool = True
    int8: bool = True
    workspace_mib: int = 0
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware: Hardware = "none"
    dla_core: int | None = None
    sparse: bool = False
    arch: str = ""
    own_kernels: bool = False


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to build.

    Attributes:
        onnx: path of the file.
        plan: where to write what is built; empty for nowhere.
        product: that builds it.
        targets: the file is written for, in TensorRT's versions; empty where it may be any.
        settings: choices.
        profiles: shapes it is to take; none where the file says all of them.
        timing_cache: folder of what was timed before; empty for none.
        calibration_cache: of a file without Q/DQ, for DLA; empty for none.
    """

    onnx: str
    plan: str = ""
    product: Product = "tensorrt"
    targets: tuple[str, ...] = ()
    settings: Settings = Settings()
    profiles: tuple[Profile, ...] = ()
    timing_cache: str = ""
    calibration_cache: str = ""

    @property
    def path(self) -> Path:
        """Of the ONNX file."""
        return Path(self.onnx)


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why the parser or builder refuses a file.

    Attributes:
        node: name of the ONNX node; empty where it is not about one.
        operator: of that node.
        text: NVIDIA's words.
    """

    node: str
    operator: str
    text: str


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output of an engine.

    Attributes:
        name: of the tensor.
        dtype: as TensorRT calls it: ``FLOAT``, ``HALF``, ``INT8``, ``UINT8``, ``INT32``.
        shape: -1 where it varies.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


LayersForm = Literal["none", "inspector", "table"]


class BuildAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How it went.

    Attributes:
        machine: it was built with.
        refusals: none if it was built.
        warnings: NVIDIA's and ours, each once.
        plan_bytes: size of the plan.
        plan_sha256: of the plan.
        seconds: it took the builder.
        flags: that were set, by name.
        inputs: of the network.
        outputs: of the network.
        layers: what became of the network: the JSON of TensorRT's inspector, or the table at the
            end of TensorRT-RTX's log.
        layers_form: which of the two.
    """

    machine: Machine
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()
    plan_bytes: int = 0
    plan_sha256: str = ""
    seconds: float = 0.0
    flags: tuple[str, ...] = ()
    inputs: tuple[Binding, ...] = ()
    outputs: tuple[Binding, ...] = ()
    layers: str = ""
    layers_form: LayersForm = "none"
