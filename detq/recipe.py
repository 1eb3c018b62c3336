"""A recipe: every choice of a run in one record; ``recipe_file`` reads and writes it.

A new range method is one struct beside :class:`MinMax` and one more member of
``RangeMethod``.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

Number = Annotated[int, Meta(ge=1)]
Pixels = Annotated[int, Meta(ge=0)]
Bits = Annotated[int, Meta(ge=4, le=8)]
Percent = Annotated[float, Meta(gt=0, le=100)]
Side = Annotated[int, Meta(ge=32)]
Text = Annotated[str, Meta(min_length=1)]
Names = Annotated[tuple[Text, ...], Meta(min_length=1)]
TransformName = Literal["fold_bn", "reparameterize"]
Metric = Literal["mae", "mse", "huber"]
Scope = Literal["both", "block", "stage"]
Tail = Literal["float", "quantized"]


class Calibration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which images the ranges are observed on; labels are not read.

    Attributes:
        data: a folder of images, a COCO annotation file, or a YOLO ``data.yaml``.
        images: folder of the images that ``data`` names; null where ``data`` says it.
        count: images to draw; all of them where there are fewer.
        seed: of the draw.
        shrink: pixels the long side stays below the input size when an image is resized.
        batch: images per run of the graph; the ranges do not depend on it.
    """

    data: Path
    images: Path | None = None
    count: Number = 64
    seed: Annotated[int, Meta(ge=0)] = 0
    shrink: Pixels = 0
    batch: Number = 8


class MinMax(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="method",
    tag="minmax",
):
    """From the smallest to the largest value seen."""


class Percentile(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="method",
    tag="percentile",
):
    """Up to a percentile of the magnitudes.

    Attributes:
        percent: of the values that are not clipped, above 0 to 100.
    """

    percent: Percent = 99.99


class Mse(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="method",
    tag="mse",
):
    """The least squared error of the rounded values.

    Attributes:
        candidates: clip points to try.
    """

    candidates: Annotated[int, Meta(ge=8, le=1024)] = 128


class Entropy(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="method",
    tag="entropy",
):
    """TensorRT's entropy rule.

    Attributes:
        count_zeros: leave the first bin as it was counted; else it gets the second's count.
    """

    count_zeros: bool = False


class Kl(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="method",
    tag="kl",
):
    """The least Kullback-Leibler divergence of the values that are not zero.

    Attributes:
        divergence: the formula; ``published`` and ``masked`` are there to compare with.
        guard: percentile of the values that are not zero below which nothing is clipped.
    """

    divergence: Literal["exact", "masked", "published"] = "exact"
    guard: Percent = 99.9


RangeMethod: TypeAlias = MinMax | Percentile | Mse | Entropy | Kl


class ChannelWise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the channels of a rounded tensor are brought to one range, at the weights' cost.

    Attributes:
        choose: ``measured`` tries on images what each tensor gains and takes the best balance;
            ``spread`` looks at ranges alone.
        range: of each channel: the largest magnitude seen, or clipped where the squared error
            is least; null is ``mse`` where the tensors' ranges are, else ``minmax``.
        least_gain_db: measured, for a tensor behind a SiLU, Hardswish or the like, where a
            multiplication per channel stays in the graph; any gain will do elsewhere.
        images: of the calibration images, the first so many to measure on.
        balance: with ``spread``: 0 leaves the whole difference to the tensor, 1 moves it to the
            weights.
        least_spread: with ``spread``: tensors whose largest channel is no more than so many
            times the median one are left alone.
    """

    choose: Literal["measured", "spread"] = "measured"
    range: Literal["minmax", "mse"] | None = None
    least_gain_db: Annotated[float, Meta(ge=0)] = 1.0
    images: Number = 4
    balance: Annotated[float, Meta(ge=0, le=1)] = 1.0
    least_spread: Annotated[float, Meta(ge=1)] = 2.0


class RepQuant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """INT8 linear layers of transformer blocks, simulated, for ``targets: [plain]`` alone.

    Attributes:
        layer_norm: turn the channel-wise scales behind a LayerNorm into one, exactly.
        softmax: codes of attention on a logarithmic scale of base √2, or the same numbers by
            shifts of whole bits and one of two scales; null leaves it float.
        softmax_bits: of these codes.
    """

    layer_norm: bool = True
    softmax: Literal["log_sqrt2", "log2"] | None = "log_sqrt2"
    softmax_bits: Bits = 8


class CoarseFine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which kernels get scales of their own for centre and surround (CFWS).

    Attributes:
        choose: ``all`` kernels that branches were merged into; by the gain of the ``surround``,
            the signal over the rounding error of the taps around the centre; or by the gain of
            the layer's output, ``measured`` on images.
        least_gain_db: below it a kernel stays whole; not looked at for ``all``.
        images: of the calibration images, the first so many to measure on.
    """

    choose: Literal["all", "surround", "measured"] = "surround"
    least_gain_db: float = 3.0
    images: Number = 4


class _Learner(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="method"):
    """What every learner has.

    Attributes:
        images: of the calibration images, the first so many in the order of the draw.
        cache_gb: memory for values of all images, in GiB; what goes beyond lies on disk.
    """

    images: Number = 64
    cache_gb: Annotated[float, Meta(gt=0)] = 4.0


class QPRep(_Learner, frozen=True, kw_only=True, tag="qprep"):
    """A gain and a shift per output channel by least squares, folded into scales and biases."""

    images: Number = 32


class BiasCorrection(_Learner, frozen=True, kw_only=True, tag="bias_correction"):
    """A shift per output channel that gives every mean its float value back."""

    images: Number = 32


class _Gradient(_Learner, frozen=True, kw_only=True):
    """What every learner by gradient has.

    Attributes:
        steps: for each layer, block or stage.
        batch: images per step.
        seed: of their order.
        device: where to learn.
    """

    steps: Number = 100
    batch: Number = 8
    seed: Annotated[int, Meta(ge=0)] = 0
    device: Literal["cpu", "cuda"] = "cpu"


class QPRepLearned(_Gradient, frozen=True, kw_only=True, tag="qprep_learned"):
    """Gain, shift and activation scales by gradient, layer by layer.

    Attributes:
        metric: of the difference from the float layer.
    """

    metric: Metric = "mae"


class AdaRound(_Gradient, frozen=True, kw_only=True, tag="adaround"):
    """Up or down for every weight, layer by layer."""


class Abc(_Gradient, frozen=True, kw_only=True, tag="abc"):
    """Across-block calibration.

    Attributes:
        scales: learn activation scales.
        gain: learn a gain per output channel.
        bias: learn the biases.
        rounding: learn the integers of the weights.
        metric: of the difference from the float network.
        scope: match a block's own output, that of its stage through the stage's rest, or both.
        stage_weight: of the stage's term at its last block; it grows in proportion to the depth.
        tail: whether the rest of a stage runs in float or as it is quantized so far.
        joint: learn a whole stage at a time.
        confidence: weigh the places of the head's outputs by the float class confidence.
    """

    scales: bool = True
    gain: bool = True
    bias: bool = True
    rounding: bool = True
    metric: Metric = "mae"
    scope: Scope = "both"
    stage_weight: Annotated[float, Meta(ge=0)] = 1.0
    tail: Tail = "float"
    joint: bool = False
    confidence: bool = False


LearnMethod: TypeAlias = QPRep | QPRepLearned | Abc | AdaRound | BiasCorrection


def learner_named(name: str) -> LearnMethod:
    """A learner with its defaults, by the name it has in a recipe."""
    found: LearnMethod = msgspec.convert({"method": name}, LearnMethod)
    return found


class Evaluation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How accuracy is measured; the defaults are YOLOv6's own protocol.

    Attributes:
        data: a COCO annotation file, or a YOLO ``data.yaml``.
        images: folder of the images that ``data`` names; null where ``data`` says it.
        shrink: pixels the long side stays below the input size when an image is resized.
        confidence: boxes with a lower score are dropped, 0 to below 1.
        iou: overlap from which the weaker of two boxes of a class is dropped, 0 to 1.
        max_detections: boxes kept per image.
        skip_bad_images: go on without images that cannot be read, and say how many.
        backends: engines to measure on.
        threads: of the CPU engines; null leaves it to the engine.
    """

    data: Path
    images: Path | None = None
    shrink: Pixels = 0
    confidence: Annotated[float, Meta(ge=0, lt=1)] = 0.03
    iou: Annotated[float, Meta(gt=0, le=1)] = 0.65
    max_detections: Number = 300
    skip_bad_images: bool = False
    backends: Names = ("torch", "onnxruntime", "openvino")
    threads: Number | None = None


class Bench(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How speed is measured.

    Attributes:
        backend: engine to measure on.
        rounds: repetitions, the models in turn.
        threads: of a CPU engine; null leaves it to the engine.
    """

    backend: Text = "openvino"
    rounds: Number = 15
    threads: Number | None = None


class Weights(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How weights are rounded.

    Attributes:
        method: ``minmax`` clips none; ``mse`` takes the range with the least squared error.
        bits: fewer than 8 are simulated, for ``targets: [plain]`` alone.
        per_tensor: one scale for all weights of a layer, not one per output channel.
    """

    method: Literal["minmax", "mse"] = "minmax"
    bits: Bits = 8
    per_tensor: bool = False


class Head(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the files do besides the network; ``model.plain.onnx`` and the float file do not.

    Attributes:
        nms: suppression inside: ``efficient`` is TensorRT's plugin EfficientNMS_TRT, ``onnx`` the
            operator NonMaxSuppression; null leaves it to the reader.
        confidence: boxes with a lower score are dropped in it, 0 to below 1.
        iou: overlap from which it drops the weaker of two boxes of a class, 0 to 1.
        max_detections: boxes it keeps per image.
        preprocess: take letterboxed images as they are: uint8 [B, H, W, 3], blue first.
    """

    nms: Literal["efficient", "onnx"] | None = None
    confidence: Annotated[float, Meta(ge=0, lt=1)] = 0.03
    iou: Annotated[float, Meta(gt=0, le=1)] = 0.65
    max_detections: Number = 300
    preprocess: bool = False


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From a checkpoint to quantized models with their figures.

    Attributes:
        checkpoint: the trained weights: ``.pt``, or a float ``.onnx``.
        size: height and width of the network's input in pixels; one number for a square.
        layout: of an ONNX file's output: ``rows`` are [B, boxes, columns], ``channels``
            [B, columns, boxes]; null recognises it.
        names: class names of an ONNX file; null takes those it says.
        calibration: the images to observe.
        transforms: what is done to the float graph, in this order.
        channel_wise: even out the channels before ranges are chosen; null leaves them.
        coarse_fine: split kernels into centre and surround; null leaves all whole.
        repquant: linear layers and attention of transformer blocks; null leaves them float.
        range: how the range of a tensor follows from what was observed.
        group_ranges: pattern of tie group names (as in a shell) to the method instead of ``range``;
            the first that matches counts.
        activation_bits: fewer than 8 are simulated, for ``targets: [plain]`` alone.
        weights: how they are rounded.
        learn: what is learned from the calibration images then, in this order; one may stand
            without a list, and an empty list learns nothing.
        float_layers: pattern of layer names (as in a shell) to the reason why they stay float.
        first_layer: whether the layer that reads the images is rounded, where the target can.
        predictions: whether the layers that give boxes and scores are rounded.
        cut_ties: patterns of tensor names that get a scale of their own in a tie group.
        targets: consumers to write a file for.
        batch: fixed batch size of the files; null leaves it open.
        head: what the files do besides the network; null adds nothing.
        evaluation: null leaves accuracy unmeasured.
        bench: null leaves speed unmeasured.
    """

    checkpoint: Path
    size: tuple[Side, Side]
    layout: Literal["rows", "channels"] | None = None
    names: Names | None = None
    calibration: Calibration
    transforms: tuple[TransformName, ...] = ("reparameterize", "fold_bn")
    channel_wise: ChannelWise | None = ChannelWise()
    coarse_fine: CoarseFine | None = None
    repquant: RepQuant | None = None
    range: RangeMethod = Mse()
    group_ranges: dict[Text, RangeMethod] = {}
    activation_bits: Bits = 8
    weights: Weights = Weights()
    learn: tuple[LearnMethod, ...] = (QPRep(),)
    float_layers: dict[Text, Text] = {}
    first_layer: Literal["int8", "float"] = "int8"
    predictions: Literal["float", "int8"] = "float"
    cut_ties: tuple[Text, ...] = ()
    targets: Names = ("plain", "onnxruntime", "openvino")
    batch: Number | None = None
    head: Head | None = None
    evaluation: Evaluation | None = None
    bench: Bench | None = None

    def __post_init__(self) -> None:
        for section in (self.calibration, self.evaluation):
            if section is not None and section.shrink >= min(self.size):
                raise ValueError("`shrink` leaves nothing of `size`")
        if min(self.activation_bits, self.weights.bits) < 8 and self.targets != ("plain",):
            raise ValueError("fewer than 8 bits are simulated, for `targets: [plain]` alone")
        if self.repquant is not None and self.targets != ("plain",):
            raise ValueError("`repquant` is simulated, for `targets: [plain]` alone")
