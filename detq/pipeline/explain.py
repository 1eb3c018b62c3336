"""The steps that gather what the report shows beside the figures: layers and pictures."""

import msgspec

from detq.calibration import CalibrationImages, drawn_images, first_batches
from detq.graph.files import load_model
from detq.pipeline.make import IMAGES as SEEN
from detq.pipeline.make import Observed
from detq.pipeline.measure import TRUTH, Scored
from detq.pipeline.progress import FLOAT, Made, Run
from detq.plan import placement_from_json
from detq.run_dir import Step
from detq.summary import dense_kernels

LAYERS, GALLERY = "layers.json", "gallery.json"
IMAGES = 4  # the noise of a layer, a mean over all its elements, differs little between images


def explain_layers(run: Run, label: str, made: Made, observed: Observed) -> None:
    """The error of every layer of one INT8 model, and what its integers cover."""
    options = run.recipe.calibration
    refs = drawn_images(options)

    def work() -> None:
        from detq.layer_error import LayerErrors, layer_errors, ranges_of

        model = run.float_model(observed.model)
        quantized = load_model(run.path(made.file))
        placement = placement_from_json(run.path(made.plan).read_bytes())
        content = run.path(SEEN).read_bytes()
        read = {image.id for image in msgspec.json.decode(content, type=CalibrationImages).used}
        used = [ref for ref in refs if ref.id in read][:IMAGES]
        one = msgspec.structs.replace(options, batch=1)  # all outputs of all layers are kept
        batches = first_batches(model, used, one, IMAGES)
        with run.tools.progress("compare layers", len(used)) as on_step:
            layers = layer_errors(model, quantized, placement, batches, on_step)
        record = LayerErrors(
            target=label,
            file=made.file,
            stats=observed.stats,
            images=len(used),
            layers=layers,
            tensors=ranges_of(quantized, placement),
            kernels=tuple(dense_kernels(run.float_model(FLOAT))),
        )
        run.write_json(LAYERS, record)

    run.step(
        "layers",
        f"compare the layers of {made.file} with the float ones",
        work,
        inputs={"images": IMAGES, "of": label},
        outputs=[LAYERS],
        after=[made.step, observed.step],
    )


def gather_pictures(
    run: Run, label: str, backend: str, of_float: Scored, scored: Scored, truth: Step
) -> None:
    """The images on which the INT8 model's boxes differ most from the float one's."""
    options = run.recipe.evaluation
    if options is None:
        raise AssertionError("nothing was evaluated")

    def work() -> None:
        wanted, got = run.path(of_float.boxes), run.path(scored.boxes)
        classes = {category: name for name, category in run.read_json(TRUTH)["classes"]}
        found = run.tools.gallery(options, wanted, got, classes, (label, backend))
        run.write_json(GALLERY, found)

    run.step(
        "gallery",
        f"look where float and {label} differ in {backend}",
        work,
        inputs={"of": [label, backend]},
        outputs=[GALLERY],
        after=[of_float.step, scored.step, truth],
    )
