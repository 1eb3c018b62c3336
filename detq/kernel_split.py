"""Which kernels CFWS splits, and what each split brings and costs.

Three ways to choose, ``detq.recipe.CoarseFine``: all kernels that branches were merged into;
those whose surround gains enough, which looks at weights alone; those whose output gains
enough on images. For the last one both forms of a layer get the float network's own input,
rounded as in the file, and the error is that of the layer's output.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from detq.graph.macs import macs_of
from detq.layer_error import decibels
from detq.model import FloatModel
from detq.numerics import Grid
from detq.quantized import QuantizedModel
from detq.recipe import CoarseFine
from detq.summary import dense_kernels
from detq.transforms.coarse_fine import merged_kernels, splittable, surround_snr_db

if TYPE_CHECKING:
    from torch import Tensor

Gains = Mapping[str, tuple[float, float]]  # layer → SNR in dB: plain and split


class KernelSplit(msgspec.Struct, frozen=True, kw_only=True):
    """One kernel that could be split.

    Attributes:
        layer: node name.
        split: whether it is.
        centre_over_surround: std of the centre taps over std of the others; None if it is no
            3 x 3 kernel.
        surround_snr_db: signal over rounding error of the taps around the centre, plain and
            split; None where it has no error.
        output_snr_db: the same of the layer's output on images; None if not measured.
        macs: multiplications for one image; None where the shape is not known.
        extra_macs: that the split adds, or would add.
    """

    layer: str
    split: bool
    centre_over_surround: float | None
    surround_snr_db: tuple[float | None, float | None]
    output_snr_db: tuple[float | None, float | None] | None
    macs: int | None
    extra_macs: int | None


class KernelSplits(msgspec.Struct, frozen=True, kw_only=True):
    """The choice for one grid of the weights.

    Attributes:
        choose: how.
        weight_bits: of the grid.
        per_tensor: whether a layer has one weight scale.
        macs: multiplications of all convolutions for one image, nothing split; None where a
            shape is not known.
        extra_macs: of the kernels that are split.
        kernels: in the order of the graph.
    """

    choose: str
    weight_bits: int
    per_tensor: bool
    macs: int | None
    extra_macs: int | None
    kernels: tuple[KernelSplit, ...]

    @property
    def layers(self) -> frozenset[str]:
        """Names of those that are split."""
        return frozenset(kernel.layer for kernel in self.kernels if kernel.split)


def choose_splits(
    model: FloatModel,
    options: CoarseFine,
    grid: Grid,
    *,
    per_tensor: bool = False,
    int8: Iterable[str] | None = None,
    measured: Gains | None = None,
) -> KernelSplits:
    """Decide for every kernel.

    Args:
        model: merged, with the weights that will be rounded.
        options: of the recipe.
        grid: of the weights.
        per_tensor: they have one scale per layer.
        int8: layers that are rounded at all; None for all.
        measured: from ``output_snrs_db``, for ``choose: measured``.
    """
    ratios = {kernel.layer: kernel.centre_over_surround for kernel in dense_kernels(model)}
    nodes = {str(node.name): node for node in model.graph.graph}
    merged, rounded = merged_kernels(model), set(nodes if int8 is None else int8)
    kernels = []
    for layer, weight in splittable(model).items():
        surround = surround_snr_db(weight, grid, per_tensor=per_tensor)
        output = None if measured is None else measured.get(layer)
        wanted = _is_chosen(options, layer in merged, surround, output)
        macs = macs_of(nodes[layer])
        kernels.append(
            KernelSplit(
                layer=layer,
                split=wanted and layer in rounded,
                centre_over_surround=ratios.get(layer),
                surround_snr_db=_finite(surround),
                output_snr_db=None if output is None else _finite(output),
                macs=macs,
                extra_macs=None if macs is None else macs // math.prod(weight.shape[2:]),
            )
        )
    total = [macs_of(node) for node in nodes.values() if node.op_type in ("Conv", "ConvTranspose")]
    return KernelSplits(
        choose=options.choose,
        weight_bits=grid.bits,
        per_tensor=per_tensor,
        macs=_sum(total),
        extra_macs=_sum([kernel.extra_macs for kernel in kernels if kernel.split]),
        kernels=tuple(kernels),
    )


def output_snrs_db(
    model: FloatModel,
    plain: QuantizedModel,
    split: QuantizedModel,
    layers: Iterable[str],
    batches: Iterable[NDArray[np.float32]],
    on_step: Callable[[int], None] = lambda done: None,
) -> Gains:
    """Signal over error of every layer's output in dB, whole and split.

    Args:
        model: the float network.
        plain: made of it with whole kernels.
        split: the same with all ``layers`` split.
        layers: INT8 convolutions.
        batches: float32 [B, 3, H, W].
        on_step: told how many batches are done.
    """
    import torch

    from detq.graph.execute import compile_slice, exact_float32, execute, parameters

    nodes = {str(node.name): node for node in model.graph.graph}
    ends = {layer: _ends(nodes[layer]) for layer in layers}
    feed = str(model.graph.graph.inputs[0].name)
    program = compile_slice(
        model.graph.graph, [feed], list({name for pair in ends.values() for name in pair})
    )
    params = parameters(program)
    runs = {
        layer: tuple(_runner(part.graph.graph, *pair) for part in (plain, split))
        for layer, pair in ends.items()
    }
    powers = {layer: np.zeros(3) for layer in ends}
    with torch.inference_mode(), exact_float32():
        for done, batch in enumerate(batches, 1):
            seen = execute(program, {feed: torch.from_numpy(batch)}, params)
            for layer, (read, made) in ends.items():
                wanted = seen[made].double()
                powers[layer] += [
                    float(wanted.square().sum()),
                    *(float((run(seen[read]) - wanted).square().sum()) for run in runs[layer]),
                ]
            on_step(done)
    return {layer: (decibels(p[0], p[1]), decibels(p[0], p[2])) for layer, p in powers.items()}


def _ends(node: ir.Node) -> tuple[str, str]:
    x = node.inputs[0]
    if x is None:
        raise AssertionError(f"{node.name} reads nothing")
    return str(x.name), str(node.outputs[0].name)


def _runner(graph: ir.Graph, read: str, made: str) -> "Callable[[Tensor], Tensor]":
    from detq.graph.execute import compile_slice, execute, fold_constants, parameters

    program = compile_slice(graph, [read], [made])
    params = parameters(program)
    program = fold_constants(program, params)
    return lambda x: execute(program, {read: x}, params)[made]


def _is_chosen(
    options: CoarseFine,
    merged: bool,
    surround: tuple[float, float],
    output: tuple[float, float] | None,
) -> bool:
    if options.choose == "all":
        return merged
    before, after = surround if options.choose == "surround" else output or (0.0, 0.0)
    # Without an error before there is nothing to gain.
    return math.isfinite(before) and after - before >= options.least_gain_db


def _finite(pair: tuple[float, float]) -> tuple[float | None, float | None]:
    first, second = (round(x, 2) if math.isfinite(x) else None for x in pair)
    return first, second


def _sum(parts: list[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
