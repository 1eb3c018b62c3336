"""An engine layer by layer: the type each was asked to have and has, and what stands between."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from detq_deploy.lint.findings import Finding
from detq_deploy.nvidia.audit import compiled_layers
from detq_deploy.nvidia.inspector import detailed
from detq_deploy.nvidia.kernel import HELPERS, Kernel

# Steps of a generated kernel that only rounds or reads back.
_ROUNDING = {"Mul", "Div", "Min", "Max", "Roun", "Cast", "Conc", "Move"}


class EngineLayer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of an engine.

    Attributes:
        name: TensorRT's.
        kind: what it is for (``detq_deploy.nvidia.kernel.Kind``).
        layer_type: TensorRT's type.
        asked: ``INT8`` or ``float`` by the Q/DQ file; empty for what is no layer with weights, or
            where the file is not known.
        got: type it computes in.
        reads: type and layout of every tensor it reads.
        writes: the same of what it writes.
        nodes: ONNX nodes it was made from.
        macs: products of a convolution.
        ms: time of one run; None where it was not measured.
    """

    name: str
    kind: str
    layer_type: str
    asked: str
    got: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    nodes: tuple[str, ...]
    macs: int
    ms: float | None


class EngineAudit(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine's layers add up to.

    Attributes:
        layers: in the order they run.
        kinds: kind → number.
        asked_int8: layers that the Q/DQ file asks to be INT8; None where it is not known.
        in_float: of these, the ONNX names of those that run otherwise.
        missing: of these, those that no layer names.
        unfused: Q and DQ that are layers of their own, but for those of the images.
        reformats: layers that only change layout or type.
        helpers: all layers between the layers with weights.
        macs: products of all convolutions for one run.
        int8_macs: of these, in INT8.
        int8_share: their share, 0 to 1; None where nothing is multiplied.
        total_ms: of all layers; None where times are not known.
        helper_ms: of the helpers.
        findings: what costs accuracy or time.
    """

    layers: tuple[EngineLayer, ...]
    kinds: dict[str, int]
    asked_int8: int | None
    in_float: tuple[str, ...]
    missing: tuple[str, ...]
    unfused: tuple[str, ...]
    reformats: tuple[str, ...]
    helpers: int
    macs: int
    int8_macs: int
    int8_share: float | None
    total_ms: float | None
    helper_ms: float | None
    findings: tuple[Finding, ...]


def audit_engine(
    kernels: Sequence[Kernel],
    *,
    asked: Mapping[str, bool] | None = None,
    times: Mapping[str, float] | None = None,
    source: str = "",
) -> EngineAudit:
    """Put an engine's layers beside what its file asks, and its times.

    Args:
        kernels: of the inspector, or of a builder's layer table.
        asked: ONNX name of each layer with weights → whether the file asks for INT8.
        times: TensorRT's name of each layer → milliseconds.
        source: the engine, for findings.
    """
    compiled = compiled_layers(kernels, asked or {})
    layers = tuple(_layer(kernel, asked or {}, times) for kernel in kernels)
    timed = [layer.ms for layer in layers if layer.ms is not None]
    int8_macs = sum(kernel.macs for kernel in kernels if kernel.int8)
    macs = sum(kernel.macs for kernel in kernels)
    fell_back = [layer for layer in compiled if layer.fell_back]
    written = {tensor.name for kernel in kernels for tensor in kernel.outputs}
    unfused = tuple(
        kernel.name
        for kernel in kernels
        if _only_rounds(kernel) and any(tensor.name in written for tensor in kernel.inputs)
    )
    audit = EngineAudit(
        layers=layers,
        kinds=dict(sorted(Counter(kernel.kind for kernel in kernels).items())),
        asked_int8=None if asked is None else sum(asked.values()),
        in_float=tuple(layer.node for layer in fell_back if layer.compiled is not None),
        missing=tuple(layer.node for layer in fell_back if layer.compiled is None),
        unfused=unfused,
        reformats=tuple(kernel.name for kernel in kernels if kernel.kind == "reformat"),
        helpers=sum(kernel.kind in HELPERS for kernel in kernels),
        macs=macs,
        int8_macs=int8_macs,
        int8_share=int8_macs / macs if macs else None,
        total_ms=sum(timed) if timed else None,
        helper_ms=sum(layer.ms or 0.0 for layer in layers if layer.kind in HELPERS)
        if timed
        else None,
        findings=(),
    )
    if not detailed(kernels):
        return msgspec.structs.replace(
            audit, in_float=(), missing=(), findings=(_without_details(source),)
        )
    return msgspec.structs.replace(audit, findings=_findings(audit, source))


def _layer(
    kernel: Kernel, asked: Mapping[str, bool], times: Mapping[str, float] | None
) -> EngineLayer:
    with_weights = kernel.kind == "convolution"
    known = [asked[node] for node in kernel.nodes if with_weights and node in asked]
    return EngineLayer(
        name=kernel.name,
        kind=kernel.kind,
        layer_type=kernel.layer_type,
        asked="" if not known else "INT8" if any(known) else "float",
        got=kernel.precision,
        reads=tuple(f"{x.dtype} {x.layout}".rstrip() for x in kernel.inputs),
        writes=tuple(f"{x.dtype} {x.layout}".rstrip() for x in kernel.outputs),
        nodes=kernel.nodes,
        macs=kernel.macs,
        ms=None if times is None else times.get(kernel.name),
    )


def _only_rounds(kernel: Kernel) -> bool:
    if kernel.kind == "rescale":
        return set(kernel.words) <= _ROUNDING
    return kernel.kind == "quantize"


def _findings(audit: EngineAudit, source: str) -> tuple[Finding, ...]:
    def found(rule: str, node: str, what: str, remedy: str) -> Finding:
        return Finding(
            rule=rule, severity="warning", node=node, what=what, source=source, remedy=remedy
        )

    return (
        *(
            found(
                "engine-float",
                node,
                "asked to be INT8, runs in float",
                "see detq lint for this layer; leave it float if there is no finding",
            )
            for node in audit.in_float
        ),
        *(
            found(
                "engine-missing",
                node,
                "asked to be INT8, and no layer of the engine names it",
                "name the ONNX file that this engine was built from",
            )
            for node in audit.missing
        ),
        *(
            found(
                "engine-unfused",
                name,
                "a Q or DQ that is a layer of its own",
                "compare it with what detq lint says of the layers around it",
            )
            for name in audit.unfused
        ),
    )


def _without_details(source: str) -> Finding:
    return Finding(
        rule="engine-names",
        severity="warning",
        node="",
        what="the engine tells the names of its layers and no more",
        source=source,
        remedy="build it with detq build, or trtexec --profilingVerbosity=detailed",
    )
