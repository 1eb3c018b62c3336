"""Lint a file: every rule of the target, the layers predicted INT8, the boundaries counted."""

from pathlib import Path

import msgspec
import onnx_ir as ir

from detq.errors import InputError
from detq.graph.files import load_model
from detq.graph.qdq import DQ, Q
from detq.target import Target
from detq_deploy.cpu import cpu_features
from detq_deploy.lint.findings import Finding
from detq_deploy.lint.forms import is_integer_operator
from detq_deploy.lint.islands import Boundary, boundaries
from detq_deploy.lint.rules import RULES
from detq_deploy.lint.subject import Subject, subject_from


class Lint(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a file.

    Attributes:
        target: it was read for.
        findings: errors first, then in the order of the rules and of the graph.
        int8: layer with weights → whether the target is expected to run it in INT8.
        boundaries: tensors that change between INT8 and float.
    """

    target: str
    findings: tuple[Finding, ...]
    int8: dict[str, bool]
    boundaries: tuple[Boundary, ...]

    @property
    def errors(self) -> int:
        """Number of findings that a consumer refuses or computes wrongly."""
        return sum(found.severity == "error" for found in self.findings)


def lint_file(path: Path, target: Target) -> Lint:
    """Read a Q/DQ file, of detq or not, for one target.

    Raises:
        InputError: no such file, not ONNX, or nothing in it is quantized.
    """
    model = load_model(path)
    if not any(node.op_type in (Q, DQ) or is_integer_operator(node) for node in model.graph):
        raise InputError(
            "has no QuantizeLinear or DequantizeLinear: it is a float model",
            where=str(path),
            hint=f"quantize it: detq quantize {path} --data images/ --output int8",
        )
    return lint(model, target)


def lint(model: ir.Model, target: Target, *, amx: bool | None = None) -> Lint:
    """Read a Q/DQ graph for one target; ``model`` is not changed.

    Args:
        model: any ONNX graph.
        target: the consumer.
        amx: whether the processor has AMX; this machine's if not given.
    """
    found = "amx_int8" in cpu_features().isa if amx is None else amx
    return lint_subject(subject_from(model, target, amx=found))


def lint_subject(subject: Subject) -> Lint:
    """All rules over a graph that has been read."""
    findings = [finding for rule in RULES for finding in rule.findings(subject)]
    return Lint(
        target=subject.target.name,
        findings=tuple(sorted(findings, key=lambda found: found.severity)),  # error, warning
        int8={str(layer.node.name): layer.node in subject.int8_nodes for layer in subject.layers},
        boundaries=boundaries(subject),
    )
