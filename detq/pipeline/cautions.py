"""What a reader of the figures must know; read from what the steps left."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import onnx_ir as ir

from detq.calibration import CalibrationImages
from detq.data.images import list_images
from detq.graph.files import load_model
from detq.pipeline.make import IMAGES
from detq.pipeline.measure import FILE_FOR, TRUTH
from detq.pipeline.progress import FLOAT
from detq.pipeline.tools import Figures
from detq.placement.kernels import IDLE
from detq.plan import placement_from_json
from detq.recipe import Evaluation, Recipe
from detq.run_dir import RunDir, file_hash


def cautions(recipe: Recipe, folder: RunDir, accuracy: Mapping[str, Figures]) -> Iterator[str]:
    """One line for everything that makes the figures say less than they seem to.

    Args:
        recipe: what was asked for.
        folder: after all steps.
        accuracy: figures of every evaluation.
    """
    content = (folder.path / IMAGES).read_bytes()
    images = msgspec.json.decode(content, type=CalibrationImages)
    yield from _about_operators(load_model(folder.path / FLOAT).graph)
    yield from _about_calibration(images, recipe.calibration.count)
    yield from _about_files(folder, recipe.targets)
    yield from _about_earlier_files(folder, recipe.targets)
    yield from _about_idle_layers(folder, recipe.targets)
    if recipe.evaluation is not None:
        yield from _about_truth(msgspec.json.decode((folder.path / TRUTH).read_bytes()))
        yield from _about_evaluation(recipe.evaluation, images, accuracy)
        yield from _about_targets(recipe.evaluation, recipe.targets)


def _about_operators(graph: ir.Graph) -> Iterator[str]:
    from detq.graph.execute import run_by_reference

    if odd := [f"{node.op_type} {node.name}" for node in run_by_reference(graph)]:
        yield f"ONNX's reference ran {_some(odd, 'node')}, slowly and in float"


def _about_calibration(images: CalibrationImages, count: int) -> Iterator[str]:
    if images.skipped:
        names = [f"{path} {reason}" for path, reason in images.skipped]
        yield f"calibration left out {_some(names, 'image')}"
    if len(images.used) < count:
        yield f"calibrated on {_number(len(images.used), 'image')}, {count} were asked for"


def _about_files(folder: RunDir, targets: tuple[str, ...]) -> Iterator[str]:
    """What was decided for the targets, each thing once."""
    told: dict[str, None] = {}
    for target in targets:
        record = msgspec.json.decode((folder.path / f"explain.{target}.json").read_bytes())
        if record["any_batch"] and record["engine"].startswith("tensorrt"):
            text = "TensorRT asks for a profile of shapes where the batch is open"
            told[f"{text}: give it one, or fix the batch (--batch 1, in a recipe batch: 1)"] = None
        lost = [
            f"{tie['value']} loses {tie['bits_lost']:.1f} bits for {', '.join(tie['readers'])}"
            for tie in record["ties"]
            if tie["readers"]
        ]
        if lost:
            told[f"a shared scale is far too wide for {_some(lost, 'tensor')} (see cut_ties)"] = (
                None
            )
    yield from told


def _about_earlier_files(folder: RunDir, targets: tuple[str, ...]) -> Iterator[str]:
    made = {f"model.{target}.onnx" for target in targets}
    found = sorted(path.name for path in folder.path.glob("model.*.onnx"))
    if earlier := [name for name in found if name not in made]:
        yield f"an earlier call left {_some(earlier, 'file')}, which this one did not make again"


def _about_idle_layers(folder: RunDir, targets: tuple[str, ...]) -> Iterator[str]:
    """Files that are mostly float because INT8 would not make them faster."""
    for target in targets:
        layers = placement_from_json((folder.path / f"placement.{target}.json").read_bytes()).layers
        idle = [layer for layer in layers if layer.reason.startswith(IDLE)]
        if 2 * len(idle) > len(layers):
            yield (
                f"model.{target}.onnx keeps {len(idle)} of {len(layers)} layers float: such as "
                f"{idle[0].node}, {idle[0].reason}"
            )


def _about_truth(truth: Any) -> Iterator[str]:
    if truth["matched_by"] == "order" and len(truth["classes"]) > 1:
        pairs = [f"{name} is category {number}" for name, number in truth["classes"]]
        yield f"classes were matched by their order, not by their names: {_list(pairs)}"


def _about_evaluation(
    options: Evaluation, images: CalibrationImages, accuracy: Mapping[str, Figures]
) -> Iterator[str]:
    if seen := _seen_before(images, options):
        yield (
            f"{len(seen)} of {_number(len(images.used), 'calibration image')} are evaluated on "
            f"too, so the accuracy flatters: {_list(seen)}"
        )
    skipped = dict.fromkeys(name for figures in accuracy.values() for name in figures["skipped"])
    if skipped:
        yield f"evaluation left out {_some(list(skipped), 'image')}"


def _about_targets(options: Evaluation, targets: tuple[str, ...]) -> Iterator[str]:
    for backend in dict.fromkeys(options.backends):
        wanted = FILE_FOR.get(backend, backend)
        if wanted not in targets:
            yield f"no INT8 model was scored in {backend}: {wanted} is not among the targets"


def _seen_before(images: CalibrationImages, options: Evaluation) -> list[str]:
    """Evaluation images that ranges were taken from; sizes first, hashes then."""
    hashes = {image.sha256 for image in images.used}
    sizes = {image.bytes for image in images.used}
    refs = list_images(options.data, options.images, split="val")
    alike = (ref for ref in refs if ref.path.stat().st_size in sizes)
    return [str(ref.path) for ref in alike if file_hash(ref.path) in hashes]


def _some(names: list[str], noun: str) -> str:
    return f"{_number(len(names), noun)}: {_list(names)}"


def _list(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
