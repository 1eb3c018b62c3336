"""What lint says: a rule, the faults it found, and what to do about them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec
import onnx_ir as ir

from detq.target import Target
from detq_deploy.lint.subject import Subject, label

Severity = Literal["error", "warning"]
Fault = tuple[ir.Node | None, str]
"""A node, None for the file as a whole, and what is wrong with it, without a full stop."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of one node.

    Attributes:
        rule: name of the rule.
        severity: an error is refused or computed wrongly, a warning costs speed or accuracy.
        node: its name; empty for the file as a whole.
        what: is wrong.
        source: how that is known.
        remedy: what to do.
    """

    rule: str
    severity: Severity
    node: str
    what: str
    source: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Something a Q/DQ file should keep.

    Attributes:
        name: in the field's words.
        severity: of its findings.
        applies: to which consumers.
        find: the faults of a file.
        source: how the rule is known.
        remedy: what to do about a fault.
    """

    name: str
    severity: Severity
    applies: Callable[[Target], bool]
    find: Callable[[Subject], Iterable[Fault]]
    source: str
    remedy: str

    def findings(self, subject: Subject) -> list[Finding]:
        """The faults of ``subject``, none where the rule is not for its target."""
        if not self.applies(subject.target):
            return []
        return [
            Finding(
                rule=self.name,
                severity=self.severity,
                node="" if node is None else label(node),
                what=what,
                source=self.source,
                remedy=self.remedy,
            )
            for node, what in self.find(subject)
        ]


def anywhere(target: Target) -> bool:
    """Every consumer."""
    return True


def on_cpu(target: Target) -> bool:
    """ONNX Runtime and OpenVINO."""
    return target.engine in ("onnxruntime", "openvino")


def on_nvidia(target: Target) -> bool:
    """TensorRT in all its forms, and the plain form, which has its numerics."""
    return not on_cpu(target)
