"""``detq quantize``."""

from pathlib import Path
from typing import Any

from detq.cli.answers import show_record
from detq.cli.arguments import AnySize, Count, Flag, LayoutName, LearnerName, Seed, TargetName
from detq.cli.chain import run_recipe, show_result
from detq.cli.heads import HeadOptions
from detq.cli.output import Output
from detq.cli.sources import names_from, size_for
from detq.errors import RecipeError


def quantize(
    checkpoint: Path,
    /,
    *,
    data: Path,
    output: Path,
    size: AnySize = None,
    layout: LayoutName | None = None,
    names: str | None = None,
    images: Path | None = None,
    target: list[TargetName] | None = None,
    count: Count = 64,
    seed: Seed = 0,
    batch: Count | None = None,
    float_layer: list[str] | None = None,
    cut_tie: list[str] | None = None,
    learn: list[LearnerName] | None = None,
    explain: Flag = False,
    heads: HeadOptions = HeadOptions(),  # noqa: B008 - frozen
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Make INT8 ONNX files from a checkpoint or float ONNX and images; no labels are needed.

    Writes float.onnx, model.plain.onnx and one model.TARGET.onnx for each target.

    Example: detq quantize best_ckpt.pt --data images/ --output int8

    Example: detq quantize ckpt.pt --data data.yaml --target trt10.3 --output int8

    Args:
        checkpoint: YOLOv6 or Ultralytics checkpoint (.pt), or float ONNX of any detector.
        data: Images to calibrate with: a folder, a COCO JSON or a YOLO data.yaml.
        output: Folder to write to; the same folder goes on with what is missing.
        size: Input size in pixels, 640 or 384x640 (height x width); 640, or what an ONNX file
            is made for, if not given.
        layout: Output of an ONNX file: rows [B, boxes, columns] or channels [B, columns, boxes];
            recognised if not given.
        names: Class names of an ONNX file: a,b,c, a data.yaml or COCO JSON; its own if
            not given.
        images: Folder of the images that a COCO JSON names.
        target: Engine to write a file for; may be given again.
        count: Number of calibration images to draw.
        seed: Seed of the draw.
        batch: Fixed batch size; any batch if not given.
        float_layer: Pattern of layer names to leave float, such as "detect.*"; may be given again.
        cut_tie: Pattern of tensor names that get a scale of their own; may be given again.
        learn: Learner to run on the calibration images, qprep if not given; may be given again, the
            next goes on from the last.
        explain: Tell for every layer of every file whether it is INT8, and why.
        heads: What the files do besides the network.
        out: How the result is told.
    """
    from detq.recipe import Calibration, Recipe, learner_named
    from detq.recipe_file import resolve_paths

    recipe = Recipe(
        checkpoint=checkpoint,
        size=size_for(checkpoint, size),
        layout=layout,
        names=names_from(names),
        calibration=Calibration(data=data, images=images, count=count, seed=seed),
        targets=tuple(dict.fromkeys(["plain", *(target or [])])),
        float_layers=dict.fromkeys(float_layer or [], "given on the command line"),
        learn=tuple(learner_named(name) for name in learn or ["qprep"] if name != "none"),
        cut_ties=tuple(cut_tie or ()),
        batch=batch,
        head=heads.for_recipe(),
    )
    resolved = resolve_paths(recipe, Path.cwd(), where="options", expand=False)
    try:
        result = run_recipe(resolved, output, out)
    except RecipeError as error:  # here no recipe was given
        where = error.where.replace("$.float_layers", "--float-layer")
        where = where.replace("$.cut_ties", "--cut-tie")
        raise RecipeError(error.what, where=where, hint=error.hint) from error
    records = _records(output, recipe.targets) if explain else {}

    def show() -> None:
        for record in records.values():
            show_record(record)
        show_result(result, output)

    out.tell(result | ({"explain": records} if explain else {}), show)


def _records(output: Path, targets: tuple[str, ...]) -> dict[str, Any]:
    """What was decided for each file, as the run left it."""
    import msgspec

    files = {target: output / f"explain.{target}.json" for target in targets}
    return {target: msgspec.json.decode(file.read_bytes()) for target, file in files.items()}
