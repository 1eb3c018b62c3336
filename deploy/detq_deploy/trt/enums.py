"""Members of TensorRT's enumerations, by name: their numbers moved between versions."""

from typing import Any

from detq.errors import TargetError


def member(kind: Any, name: str) -> Any | None:
    """The member of an enumeration, or None where this version has none of that name."""
    return kind.__members__.get(name)


def required(kind: Any, name: str, what: str) -> Any:
    """The same, where it was asked for.

    Args:
        kind: an enumeration.
        name: of the member.
        what: cannot be done without it, for the message.

    Raises:
        TargetError: this version has none of that name.
    """
    found = member(kind, name)
    if found is None:
        import tensorrt as trt

        raise TargetError(
            f"TensorRT {trt.__version__} has no {kind.__name__}.{name}", where=what,
            hint="leave that option out, or use a TensorRT that has it",
        )  # fmt: skip
    return found
