"""From a checkpoint to a float ONNX graph, branches apart."""

from detq.detection import Detector
from detq.graph.build import Builder
from detq.graph.files import detector_metadata
from detq.model import FloatModel
from detq.torch_layers.boxes import check_size
from detq.torch_layers.writer import Writer, check_all_written
from yolov6_adapter.backbone import write_backbone
from yolov6_adapter.blocks import BLOCKS, CONTAINERS
from yolov6_adapter.checkpoint import Checkpoint
from yolov6_adapter.decode import write_decode, write_masks
from yolov6_adapter.head import check_strides, write_head
from yolov6_adapter.neck import write_neck
from yolov6_adapter.seg import write_prototypes


def source_from_checkpoint(checkpoint: Checkpoint, size: tuple[int, int]) -> FloatModel:
    """The network of a checkpoint as a graph, for one input size.

    Input ``images``: float32 [N, 3, H, W], RGB, 0…1. Output ``outputs``: float32
    [N, L, 5 + nc], rows of centre x, centre y, width, height in pixels, objectness (1 since
    generation 0.2), scores after the sigmoid. Face models have ten landmark coordinates
    behind the box. Segmentation models also give ``prototypes`` [N, 32, h, w] and
    ``mask_coefficients`` [N, L, 32].

    Convolutions, normalizations, identity and average branches stay nodes of their own.

    Args:
        checkpoint: as read.
        size: height and width of the input in pixels.

    Raises:
        InputError: the size is not a multiple of the largest stride.
        UnsupportedBlockError: a module is of a class that has no builder.
        CheckpointError: parts of the network do not fit each other.
    """
    check_size(size, checkpoint.strides)
    root, to = checkpoint.root, Builder(f"{checkpoint.family} {checkpoint.variant}")
    write = Writer(to, BLOCKS, CONTAINERS)
    images = to.input("images", ["N", 3, *size])
    backbone, neck, head = (root.child(name) for name in ("backbone", "neck", "detect"))
    features = write_neck(write, neck, write_backbone(write, backbone, images))
    check_all_written(write, backbone)
    check_all_written(write, neck)
    found = write_head(write, head, features)
    check_strides(head, found, checkpoint.strides, size)
    outputs = {"outputs": write_decode(to, head, found, checkpoint.strides)}
    if found.masks:
        outputs["prototypes"] = write_prototypes(write, head, features[0])
        outputs["mask_coefficients"] = write_masks(to, head, found)
    detector = _detector(checkpoint, size)
    return FloatModel(to.finish(outputs, detector_metadata(detector)), detector)


def _detector(checkpoint: Checkpoint, size: tuple[int, int]) -> Detector:
    return Detector(
        family=f"{checkpoint.family} {checkpoint.variant}",
        names=checkpoint.names,
        strides=checkpoint.strides,
        size=size,
        source=f"{checkpoint.path.name} sha256:{checkpoint.sha256}",
    )
