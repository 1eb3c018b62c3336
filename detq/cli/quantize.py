"""``detq quantize``."""

from pathlib import Path

from detq.cli.arguments import Output, Size
from detq.cli.chain import run_recipe, show_result
from detq.errors import InputError


def quantize(
    checkpoint: Path,
    /,
    *,
    data: Path,
    output: Path,
    size: Size = (640, 640),
    images: Path | None = None,
    target: list[str] | None = None,
    count: int = 64,
    seed: int = 0,
    batch: int | None = None,
    float_layer: list[str] | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Make INT8 ONNX files from a checkpoint and images; no labels are needed.

    Writes float.onnx, model.plain.onnx and one model.TARGET.onnx for each target.

    Example: detq quantize best_ckpt.pt --data images/ --size 640 --target openvino --output int8

    Args:
        checkpoint: YOLOv6 checkpoint (.pt).
        data: Images to calibrate with: a folder, a COCO JSON or a YOLO data.yaml.
        output: Folder to write to; the same folder goes on with what is missing.
        size: Input size in pixels, 640 or 384x640 (height x width).
        images: Folder of the images that a COCO JSON names.
        target: Consumer to write a file for; may be given again.
        count: Number of calibration images to draw.
        seed: Seed of the draw.
        batch: Fixed batch size; any batch if not given.
        float_layer: Pattern of layer names to leave float, such as "detect.*"; may be given again.
        out: How the result is told.
    """
    from detq.recipe import Calibration, Recipe, resolve_paths

    if not checkpoint.is_file():
        raise InputError(
            "no such file", where=str(checkpoint), hint="give the path of a checkpoint"
        )
    recipe = Recipe(
        checkpoint=checkpoint,
        size=size,
        calibration=Calibration(data=data, images=images, count=count, seed=seed),
        targets=tuple(dict.fromkeys(["plain", *(target or [])])),
        float_layers=dict.fromkeys(float_layer or [], "given on the command line"),
        batch=batch,
    )
    result = run_recipe(resolve_paths(recipe, Path.cwd(), where="options"), output, out)
    out.tell(result, lambda: show_result(result, output))
