"""The optional heads of a file; quantization is over when they are added."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import onnx_ir as ir

from detq.detection import Suppression
from detq.dialects.heads.pixels import takes_pixels
from detq.dialects.heads.suppress import suppress
from detq.errors import InputError
from detq.graph.files import detector_from_metadata, detector_metadata
from detq.recipe import Head


@dataclass(frozen=True, slots=True)
class Heads:
    """What a file does besides the network.

    Attributes:
        suppression: its last step, or None.
        preprocess: it takes letterboxed images as they are, uint8 [B, H, W, 3].
    """

    suppression: Suppression | None = None
    preprocess: bool = False


def with_heads(model: ir.Model, heads: Heads, *, nms: Sequence[str], where: str) -> ir.Model:
    """The same file with its heads; the network in the middle keeps its bits.

    Args:
        model: as ``write_float`` or ``write_quantized`` give it; unchanged.
        heads: what to add.
        nms: suppression that the consumer takes.
        where: the consumer, for the error.

    Raises:
        InputError: the consumer does not take the suppression, or the file has it already.
    """
    check_heads(heads, nms=nms, where=where)
    detector = detector_from_metadata(model.metadata_props, where)
    if (heads.suppression and detector.suppression) or (heads.preprocess and detector.takes_pixels):
        raise InputError(
            "has this head already", where=where, hint="start from a file without heads"
        )
    copy = model.clone()
    if heads.preprocess:
        takes_pixels(copy, detector.preprocessing)
    if heads.suppression is not None:
        suppress(copy, detector, heads.suppression)
    changed = msgspec.structs.replace(
        detector,
        suppression=heads.suppression or detector.suppression,
        takes_pixels=heads.preprocess or detector.takes_pixels,
    )
    copy.metadata_props.update(detector_metadata(changed))
    return copy


def heads_from(head: Head) -> Heads:
    """What a recipe asks for."""
    if head.nms is None:
        return Heads(preprocess=head.preprocess)
    suppression = Suppression(
        by=head.nms, confidence=head.confidence, iou=head.iou, max_detections=head.max_detections
    )
    return Heads(suppression, head.preprocess)


def check_heads(heads: Heads, *, nms: Sequence[str], where: str) -> None:
    """Refuse what a consumer does not take, before the work that leads there.

    Args:
        heads: to be added.
        nms: suppression that the consumer takes.
        where: the consumer, for the error.

    Raises:
        InputError: it does not take the suppression.
    """
    by = None if heads.suppression is None else heads.suppression.by
    if by is not None and by not in nms:
        known = f"takes {' and '.join(nms)}" if nms else "has none"
        raise InputError(
            f"does not take --nms {by}; it {known}",
            where=where,
            hint=f"give --nms {nms[0]}" if nms else "leave --nms out, and suppress behind it",
        )
