"""From a checkpoint to a float ONNX graph, branches apart."""

from detq.detection import Detector
from detq.graph.build import Builder
from detq.graph.files import detector_metadata
from detq.model import FloatModel
from detq.torch_layers.boxes import check_size
from detq.torch_layers.writer import Writer
from ultralytics_adapter.blocks import BLOCKS, CONTAINERS
from ultralytics_adapter.checkpoint import Checkpoint
from ultralytics_adapter.head import write_head
from ultralytics_adapter.wiring import write_layers


def source_from_checkpoint(checkpoint: Checkpoint, size: tuple[int, int]) -> FloatModel:
    """The network of a checkpoint as a graph, for one input size.

    Input ``images``: float32 [N, 3, H, W], RGB, 0…1. Output ``outputs``: float32
    [N, L, 5 + nc], rows of centre x, centre y, width, height in pixels, objectness 1, scores
    after the sigmoid.

    Args:
        checkpoint: as read.
        size: height and width of the input in pixels.

    Raises:
        InputError: the size is not a multiple of the largest stride.
        UnsupportedBlockError: a module is of a class that has no builder.
        CheckpointError: parts of the network do not fit each other.
    """
    check_size(size, checkpoint.strides)
    to = Builder(checkpoint.family)
    write = Writer(to, BLOCKS, CONTAINERS)
    images = to.input("images", ["N", 3, *size])
    features = write_layers(write, checkpoint.root, checkpoint.layers, images)
    rows = write_head(write, checkpoint.layers[-1], features, checkpoint.strides, size)
    detector = Detector(
        family=checkpoint.family,
        names=checkpoint.names,
        strides=checkpoint.strides,
        size=size,
        source=f"{checkpoint.path.name} sha256:{checkpoint.sha256}",
    )
    return FloatModel(to.finish({"outputs": rows}, detector_metadata(detector)), detector)
