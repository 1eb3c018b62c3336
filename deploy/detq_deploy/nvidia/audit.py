"""What NVIDIA compiled, beside what lint said it would: layer by layer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from detq.graph.files import load_model
from detq_deploy.lint.check import Lint
from detq_deploy.lint.findings import Finding
from detq_deploy.nvidia.kernel import HELPERS, Kernel
from detq_deploy.nvidia.rtx import Arch, build_rtx
from detq_deploy.trt.refusals import finding_from_refusal

# Operators that no build without a GPU or plugins takes.
_NOT_HERE = {
    "EfficientNMS_TRT": "a plugin, and TensorRT-RTX has none",
    "NonMaxSuppression": "not built without a GPU",
}


class CompiledLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer with weights, as it was predicted and as it was compiled.

    Attributes:
        node: its name in the file.
        predicted: INT8, by lint.
        compiled: INT8, by the layer table; None where the table does not name it.
        kernel: NVIDIA's name and type.
    """

    node: str
    predicted: bool
    compiled: bool | None
    kernel: str

    @property
    def fell_back(self) -> bool:
        """Predicted INT8 and compiled in float."""
        return self.predicted and not self.compiled


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """How NVIDIA's builder compiled a file.

    Attributes:
        version: of TensorRT-RTX; empty if it was not asked.
        arch: it compiled for.
        findings: refusals, and layers that were predicted INT8 and compiled in float.
        layers: every layer with weights.
        kernels: kind → number.
        helpers: kernels between the layers: they rescale, move, cast or compute in float.
        bytes_moved: read and written by all kernels for one run, weights included.
        plan_bytes: size of the plan.
        warnings: NVIDIA's.
    """

    version: str = ""
    arch: str
    findings: tuple[Finding, ...] = ()
    layers: tuple[CompiledLayer, ...] = ()
    kernels: dict[str, int] = {}
    helpers: int = 0
    bytes_moved: int = 0
    plan_bytes: int = 0
    warnings: tuple[str, ...] = ()


def audit(path: Path, lint: Lint, arch: Arch = "sm86") -> Audit:
    """Build ``path`` with TensorRT-RTX and read its layer table.

    Args:
        path: Q/DQ file, of detq or not.
        lint: of the same file, for the target ``trt-rtx``.
        arch: to compile for.

    Raises:
        InputError, TargetUnavailableError, TargetError: as ``build_rtx``.
    """
    missing = _missing(path)
    if missing:
        return Audit(arch=arch, findings=missing)
    built = build_rtx(path, arch)
    layers = tuple(compiled_layers(built.kernels, lint.int8)) if built.kernels else ()
    kinds = Counter(kernel.kind for kernel in built.kernels)
    source = f"TensorRT-RTX {built.version}, {arch}"
    return Audit(
        version=built.version,
        arch=arch,
        findings=(
            *(finding_from_refusal(refusal, source) for refusal in built.refusals),
            *(_in_float(layer, source) for layer in layers if layer.fell_back),
        ),
        layers=layers,
        kernels=dict(sorted(kinds.items())),
        helpers=sum(kinds[kind] for kind in HELPERS),
        bytes_moved=sum(kernel.bytes_moved for kernel in built.kernels),
        plan_bytes=built.plan_bytes,
        warnings=built.warnings,
    )


def compiled_layers(
    kernels: Sequence[Kernel], predicted: Mapping[str, bool]
) -> list[CompiledLayer]:
    """Every predicted layer, with the kernel that computes it.

    Args:
        kernels: a layer table.
        predicted: name of each layer with weights → whether INT8 was expected.
    """
    found: dict[str, Kernel] = {}
    for kernel in kernels:
        if kernel.kind == "convolution":
            for name in kernel.nodes:
                # A kernel may name neighbours it took in; its own name begins with its layer's.
                if name in predicted and (name not in found or kernel.name.startswith(f"{name}_")):
                    found[name] = kernel
    return [
        CompiledLayer(
            node=node,
            predicted=int8,
            compiled=found[node].int8 if node in found else None,
            kernel=f"{found[node].name} ({found[node].layer_type})" if node in found else "",
        )
        for node, int8 in predicted.items()
    ]


def _missing(path: Path) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            rule="nvidia-not-asked",
            severity="warning",
            node=str(node.name or ""),
            what=f"{node.op_type} is {_NOT_HERE[node.op_type]}, so the file was not built",
            source="TensorRT-RTX 1.7.1",
            remedy="ask about the same file without suppression",
        )
        for node in load_model(path).graph
        if node.op_type in _NOT_HERE
    )


def _in_float(layer: CompiledLayer, source: str) -> Finding:
    how = "compiled in float" if layer.compiled is not None else "not in the layer table"
    return Finding(
        rule="nvidia-float",
        severity="warning",
        node=layer.node,
        what=f"predicted INT8, {how}",
        source=source,
        remedy="leave it float, or look for a rule of detq lint that it breaks",
    )
