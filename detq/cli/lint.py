"""``detq lint``."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from detq.cli.arguments import Flag, TargetName
from detq.cli.output import Output, number_of, print_table

if TYPE_CHECKING:
    from detq_deploy.lint import Finding, Lint
    from detq_deploy.nvidia.audit import Audit

Arch = Literal["sm80", "sm86", "sm89", "sm120", "sm121"]

_SHOWN = 3  # nodes of one rule; --json tells all


def lint(
    model: Path,
    /,
    *,
    target: TargetName = "plain",
    nvidia: Flag = False,
    arch: Arch = "sm86",
    out: Output = Output(),  # noqa: B008 - frozen
) -> int:
    """Say before a build what an engine would refuse or run slowly in a Q/DQ ONNX file.

    Ends with 1 if the engine would refuse the file or compute it wrongly.

    Example: detq lint model.plain.onnx --target trt10.3

    Example: detq lint model.trt-rtx.onnx --target trt-rtx --nvidia

    Args:
        model: Q/DQ ONNX file, written by detq or not.
        target: Engine that should take it.
        nvidia: Have NVIDIA's own parser and builder compile it too, which needs no GPU.
        arch: GPU architecture to compile for, with --nvidia.
        out: How the result is told.
    """
    from detq_deploy.lint import lint_file
    from detq_deploy.targets import target_named

    found = lint_file(model, target_named(target))
    audited = _audit(model, arch) if nvidia else None
    findings = (*found.findings, *(audited.findings if audited else ()))
    errors = sum(finding.severity == "error" for finding in findings)
    figures = {"file": str(model), "lint": found, "nvidia": audited, "errors": errors}
    out.tell(figures, lambda: _show(found, audited, findings))
    return 1 if errors else 0


def _audit(model: Path, arch: Arch) -> "Audit":
    from detq_deploy.lint import lint_file
    from detq_deploy.nvidia.audit import audit
    from detq_deploy.targets import target_named

    return audit(model, lint_file(model, target_named("trt-rtx")), arch)


def _show(found: "Lint", audited: "Audit | None", findings: Iterable["Finding"]) -> None:
    for severity, rule, same in _by_rule(findings):
        print(f"{severity} {rule}: {number_of(len(same), 'node')}; {same[0].remedy}")
        for finding in same[:_SHOWN]:
            print(f"  {finding.node or 'the file'}: {finding.what}")
        if len(same) > _SHOWN:
            print(f"  and {len(same) - _SHOWN} more")
        print(f"  source: {same[0].source}")
    int8 = f"{sum(found.int8.values())} of {number_of(len(found.int8), 'layer')}"
    print(f"{found.target}: {int8} predicted INT8, ", end="")
    print(f"{number_of(len(found.boundaries), 'tensor')} between INT8 and float")
    if audited is not None and audited.version:
        _show_audit(audited)


def _by_rule(findings: Iterable["Finding"]) -> Iterator[tuple[str, str, list["Finding"]]]:
    ordered = sorted(findings, key=lambda finding: finding.severity)  # stable: rules in order
    for (severity, rule), same in groupby(ordered, lambda f: (f.severity, f.rule)):
        yield severity, rule, list(same)


def _show_audit(audited: "Audit") -> None:
    print(f"\nTensorRT-RTX {audited.version} for {audited.arch}", end="")
    if not audited.layers:
        print(": refused")
        return
    int8 = sum(bool(layer.compiled) for layer in audited.layers)
    other = [layer for layer in audited.layers if layer.predicted != bool(layer.compiled)]
    print(f": {int8} of {number_of(len(audited.layers), 'layer')} compiled as INT8, ", end="")
    print(f"{audited.plan_bytes / 1e6:.1f} MB")
    print(f"{number_of(len(other), 'layer')} otherwise than predicted")
    rows = [[kind, str(count)] for kind, count in audited.kernels.items()]
    print_table("", ["kernels", "number"], rows)
    print(f"{audited.helpers} kernels between the layers; {audited.bytes_moved / 1e6:.1f} MB moved")
