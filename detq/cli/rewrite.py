"""A quantized file of detq, written again for another consumer."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from detq.errors import InputError, TargetError
from detq.target import Target

if TYPE_CHECKING:
    import onnx_ir as ir

    from detq.recipe import Head

CACHE = ".cache"
_LOST = (
    "DLA: scales per channel of the weights, learned rounding and the choice of float layers are "
    "lost; TensorRT rounds the weights again and chooses by itself"
)


def is_quantized(path: Path) -> bool:
    """Whether a file is ONNX with Q/DQ in it."""
    from detq.cli.sources import is_onnx

    if not is_onnx(path):
        return False
    from detq.graph.files import load_model
    from detq.graph.qdq import DQ

    return any(node.op_type == DQ for node in load_model(path).graph)


def rewrite(
    path: Path,
    output: Path,
    target: Target,
    *,
    batch: int | None,
    head: "Head | None" = None,
    strip: bool,
) -> dict[str, Any]:
    """Write a Q/DQ file in the form that a target takes.

    Args:
        path: a Q/DQ file of detq with float32 body and stored integers, such as
            model.plain.onnx.
        output: file to write; a calibration cache goes beside it, as ``.cache``.
        target: the consumer.
        batch: fixed batch size; as in the file if None.
        head: what the file does besides the network.
        strip: float weights and a calibration cache instead of Q/DQ.

    Returns:
        ``output``, ``target``, ``bytes``, ``record`` of the layers, ``warnings``, and ``cache``
        if there is one.

    Raises:
        InputError: the file is no such file.
        TargetError: it was quantized for another grid, or the target cannot read it.
    """
    from detq.dialects.heads import heads_from, with_heads
    from detq.dialects.record import record_of
    from detq.dialects.write import write_dialect
    from detq.graph.files import RECIPE, detector_from_metadata, load_model, save_model
    from detq.whole_file import require_apart

    model = load_model(path)
    detector = detector_from_metadata(model.metadata_props, str(path))
    _require_source(model, path)
    recipe = model.metadata_props.get(RECIPE, "")
    if strip:
        _require_strippable(output, head)
        require_apart(output.with_suffix(CACHE), path)
        figures = _strip(model, output, target, batch, path)
        written = load_model(output)
    else:
        written = write_dialect(model, detector, target, batch=batch, recipe=recipe)
        whole = written
        if head is not None:
            whole = with_heads(written, heads_from(head), nms=target.nms, where=target.name)
        save_model(whole, output)
        figures = {"warnings": []}
    return {
        "output": str(output),
        "target": target.name,
        "bytes": output.stat().st_size,
        "record": msgspec.to_builtins(record_of(written, target)),
        **figures,
    }


def _require_source(model: "ir.Model", path: Path) -> None:
    """Only what no dialect has changed can be written as another."""
    import onnx_ir as ir

    from detq.graph.files import TARGET
    from detq.graph.qdq import Q
    from detq.graph.stored import array_of

    half = any(x.dtype == ir.DataType.FLOAT16 for x in model.graph.initializers.values())
    floats = any(n.op_type == Q and array_of(n.inputs[0]) is not None for n in model.graph)
    if half or floats:
        raise InputError(
            f"is written for {model.metadata_props.get(TARGET, 'one target')} already",
            where=str(path),
            hint="give model.plain.onnx of the same run",
        )


def _require_strippable(output: Path, head: "Head | None") -> None:
    """The cache is a file of its own, and for the network alone."""
    if output.suffix == CACHE:
        raise InputError(
            "is the name of the cache, which goes beside the model",
            where=str(output),
            hint=f"give {output.with_suffix('.onnx')}",
        )
    if head is not None:
        raise InputError(
            "not with --strip, whose cache is for the network alone",
            where="--nms, --with-preprocess",
            hint="leave one of them out",
        )


def _strip(
    model: "ir.Model", output: Path, target: Target, batch: int | None, path: Path
) -> dict[str, Any]:
    from detq.dialects.calibration_cache import CalibrationCache, cache_as_text
    from detq.dialects.grids import require_grids
    from detq.dialects.strip import strip
    from detq.dialects.write import write_float
    from detq.graph.files import detector_from_metadata, save_model
    from detq.model import FloatModel
    from detq.whole_file import written_whole

    if target.dla != "cache":
        raise TargetError(
            f"{target.name} reads no calibration cache", hint="--strip is for trt8.4 to trt10.3"
        )
    require_grids(model, replace(target, transposed="per_tensor"))  # floats again in the file
    found = strip(model)
    stripped = FloatModel(found.graph, detector_from_metadata(model.metadata_props, str(path)))
    if batch is None and stripped.batch is None:
        raise InputError(
            "DLA takes a fixed number of images", where="--batch", hint="add --batch 1"
        )
    save_model(write_float(stripped, batch=batch, target=target), output)
    cache = output.with_suffix(CACHE)
    with written_whole(cache) as temporary:
        temporary.write_text(cache_as_text(CalibrationCache(target.build, found.scales)))
    warnings = [_LOST, f"{len(found.float_tensors)} tensors have no scale and stay float16"]
    if found.bounded:
        warnings.append(f"{len(found.bounded)} sides of sums have an upper bound as scale")
    return {"cache": str(cache), "scales": len(found.scales), "warnings": warnings}
