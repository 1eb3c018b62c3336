"""Options for what a file does besides the network."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from detq.cli.arguments import Confidence, Count, Flag, NmsName, Overlap
from detq.errors import InputError

if TYPE_CHECKING:
    from detq.recipe import Head


@Parameter(name="*")
@dataclass(frozen=True)
class HeadOptions:
    """What is put in front of the network and behind it.

    Attributes:
        nms: Suppression inside the file: efficient (TensorRT's plugin) or onnx (the operator).
        nms_confidence: Boxes with a lower score are dropped in it.
        nms_iou: Overlap above which it drops the weaker of two boxes of a class.
        nms_detections: Boxes it keeps per image.
        with_preprocess: Take letterboxed images as they are: uint8 [B, H, W, 3], blue first.
    """

    nms: NmsName | None = None
    nms_confidence: Confidence = 0.03
    nms_iou: Overlap = 0.65
    nms_detections: Count = 300
    with_preprocess: Annotated[Flag, Parameter(name="--with-preprocess")] = False

    def for_recipe(self) -> "Head | None":
        """The section of a recipe; None where nothing is asked for.

        Raises:
            InputError: the suppression has options, but there is none.
        """
        from detq.recipe import Head

        without = HeadOptions(with_preprocess=self.with_preprocess)
        if self.nms is None and self != without:
            raise InputError(
                "there is no suppression that takes options",
                where="--nms-confidence, --nms-iou, --nms-detections",
                hint="add --nms onnx or --nms efficient",
            )
        if self.nms is None and not self.with_preprocess:
            return None
        return Head(
            nms=self.nms,
            confidence=self.nms_confidence,
            iou=self.nms_iou,
            max_detections=self.nms_detections,
            preprocess=self.with_preprocess,
        )
