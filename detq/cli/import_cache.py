"""``detq import-cache``."""

from pathlib import Path

from detq.cli.answers import show_record
from detq.cli.arguments import AnySize, Count, Flag, TargetName
from detq.cli.output import Output
from detq.cli.sources import merged, read_source, size_for
from detq.errors import InputError


def import_cache(
    model: Path,
    cache: Path,
    /,
    *,
    output: Path,
    target: TargetName = "plain",
    size: AnySize = None,
    batch: Count | None = None,
    explain: Flag = False,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Turn a float ONNX and its TensorRT calibration cache into Q/DQ.

    Example: detq import-cache float.onnx calibration.cache --output model.onnx

    Args:
        model: Float ONNX that the cache was made for, or a checkpoint.
        cache: Calibration cache of TensorRT 7 to 10, any algorithm.
        output: File to write.
        target: Engine to write it for; one that takes signed integers.
        size: Input size in pixels; 640, or what the model is made for, if not given.
        batch: Fixed batch size; as in the model if not given.
        explain: Tell for every layer whether it is INT8, and why.
        out: How the result is told.
    """
    import msgspec

    from detq.dialects import write_quantized
    from detq.dialects.calibration_cache import cache_from_text
    from detq.dialects.import_cache import quantize_by_cache
    from detq.dialects.record import record_of
    from detq.graph.files import save_model
    from detq.whole_file import require_apart
    from detq_deploy.targets import target_named

    require_apart(output, model, cache)
    consumer = target_named(target)
    scales = cache_from_text(_text_of(cache), str(cache))
    source = merged(read_source(model, size_for(model, size)))
    found = quantize_by_cache(source, scales, consumer)
    written = write_quantized(found.model, consumer, batch=batch)
    save_model(written, output)
    record = record_of(written, consumer)
    figures = {
        "output": str(output),
        "target": consumer.name,
        "scales": len(scales.scales),
        "unused": found.unused,
        "record": msgspec.to_builtins(record),
    }

    def show() -> None:
        if explain:
            show_record(record)
        int8 = sum(answer.int8 for answer in record.layers)
        print(f"{output}: {int8} of {len(record.layers)} layers INT8, for {consumer.name}")
        print(f"{len(scales.scales)} scales, {len(found.unused)} of them of no rounded tensor")

    out.tell(figures, show)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=str(path), hint="give a calibration cache"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            "is not text", where=str(path), hint="give a calibration cache, not an engine"
        ) from error
