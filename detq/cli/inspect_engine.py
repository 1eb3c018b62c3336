"""``detq inspect`` of a TensorRT engine: its layers, one by one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from detq.cli.output import Output, number_of, print_table

if TYPE_CHECKING:
    from detq_deploy.lint.findings import Finding
    from detq_deploy.nvidia.engine_audit import EngineAudit, EngineLayer
    from detq_deploy.trt.layers import EngineReport

_SHOWN = 3  # nodes of one finding; --json tells all
_NUMBERS = {
    "two": "2", "four": "4", "eight": "8", "sixteen": "16", "thirty-two": "32",
}  # fmt: skip
_WIDE = re.compile(r"([a-z-]+) wide channel vectorized", re.IGNORECASE)
_MODULO = re.compile(r"channel % (\d+)")


def show_engine(file: Path, onnx: Path | None, times: Path | None, out: Output) -> None:
    """Tell what TensorRT made of a network."""
    from detq_deploy.trt.layers import report_engine

    found = report_engine(file, onnx=onnx, times=times)
    out.tell(found, lambda: _show(found))


def _show(found: "EngineReport") -> None:
    audit = found.audit
    for line in _head(found):
        print(line)
    _show_layers(audit)
    for kind, count in audit.kinds.items():
        print(f"{count:5} {kind}")
    for line in _sums(found):
        print(line)
    for line in _told(audit.findings):
        print(line)


def _head(found: "EngineReport") -> Iterator[str]:
    size = "" if found.bytes is None else f", {found.bytes / 1e6:.1f} MB"
    yield f"{found.file}: {found.engine or 'layers of an engine'}{size}"
    if found.onnx:
        yield f"built from {found.onnx}; flags: {', '.join(found.flags) or 'none'}"
    yield f"layers by {found.layers_by}"


def _show_layers(audit: "EngineAudit") -> None:
    timed = audit.total_ms is not None
    columns = ["layer", "type", "asked", "got", "reads", "writes", *(["ms"] if timed else [])]
    rows = [
        [
            _name(layer),
            layer.layer_type or layer.kind,
            layer.asked,
            "INT8" if layer.got == "Int8" else layer.got,
            _tensors(layer.reads),
            _tensors(layer.writes),
            *([] if not timed else ["" if layer.ms is None else f"{layer.ms:.4f}"]),
        ]
        for layer in audit.layers
    ]
    print_table("", columns, rows, words=columns[:6])


def _sums(found: "EngineReport") -> Iterator[str]:
    audit = found.audit
    yield (
        f"{number_of(len(audit.layers), 'layer')}, {audit.helpers} of them between those with "
        f"weights; {number_of(len(audit.reformats), 'reformat')}, "
        f"{len(audit.unfused)} Q or DQ by itself"
    )
    if audit.int8_share is not None:
        yield f"{audit.int8_share:.1%} of {audit.macs / 1e9:.2f} G products in INT8"
    if audit.asked_int8 is None:
        yield "which layers were to be INT8 is not known: name the Q/DQ file with --onnx"
    else:
        other = len(audit.in_float) + len(audit.missing)
        yield (
            f"{audit.asked_int8} layers asked to be INT8 by {found.asked_by}, {other} of them "
            "run otherwise"
        )
    if audit.total_ms is not None and audit.helper_ms is not None:
        share = audit.helper_ms / audit.total_ms if audit.total_ms else 0.0
        yield f"{audit.total_ms:.3f} ms in all layers, {share:.0%} between those with weights"


def _told(findings: "tuple[Finding, ...]") -> Iterator[str]:
    for rule in dict.fromkeys(finding.rule for finding in findings):
        same = [finding for finding in findings if finding.rule == rule]
        yield f"warning {rule}: {same[0].what}; {same[0].remedy}"
        nodes = [finding.node for finding in same if finding.node]
        yield from (f"  {node}" for node in nodes[:_SHOWN])
        if len(nodes) > _SHOWN:
            yield f"  and {len(nodes) - _SHOWN} more"


def _name(layer: "EngineLayer") -> str:
    """The ONNX layer where there is one: TensorRT's names grow with what it fused."""
    return layer.nodes[-1] if len(layer.nodes) == 1 else layer.name


def _tensors(found: tuple[str, ...]) -> str:
    return ", ".join(dict.fromkeys(map(layout_in_short, found)))


def layout_in_short(told: str) -> str:
    """``Int8 Thirty-two wide channel vectorized row major Int8 format`` → ``Int8 CHW32``."""
    dtype, _, layout = told.partition(" ")
    wide, modulo = _WIDE.search(layout), _MODULO.search(layout)
    if wide is not None:
        short = f"CHW{_NUMBERS.get(wide[1].lower(), wide[1])}"
    elif "channel major" in layout.lower():
        short = f"HWC{modulo[1]}" if modulo else "HWC"
    elif "linear" in layout.lower():
        short = "linear"
    else:
        short = "" if layout == dtype else layout
    return f"{dtype} {short}".strip()
