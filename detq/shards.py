"""Statistics of parts of the images, taken anywhere and merged: the same bits as in one go.

A part is a whole number of batches of the calibration, so that every batch is the one it would
be in one go, and merging is exact. An image that cannot be read would shift the batches behind
it: where there is one, the parts are cut again without it.
"""

import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

from detq.calibration import CalibrationImages, observe_images
from detq.data.images import ImageRef
from detq.dialects import write_float
from detq.graph.files import detector_from_metadata, load_model, save_model
from detq.model import FloatModel
from detq.recipe import Calibration
from detq.stats import CalibrationStats, merge
from detq.tasks.task import Task

DoAll = Callable[[Sequence[Task]], list[Any]]
Part = tuple[CalibrationStats, CalibrationImages]


@dataclass(frozen=True)
class Shards:
    """How work is cut by images.

    Attributes:
        count: of parts.
        do_all: does tasks anywhere and gives their results in order.
        folder: that all workers see, for what is handed to them.
    """

    count: int
    do_all: DoAll
    folder: Path

    def observe(
        self,
        model: FloatModel,
        values: Collection[str],
        refs: Sequence[ImageRef],
        options: Calibration,
        on_step: Callable[[int], None],
    ) -> Part:
        """As ``detq.calibration.observe_images``, bit for bit."""
        with tempfile.TemporaryDirectory(prefix=".shards-", dir=self.folder) as folder:
            file = Path(folder) / "model.onnx"
            save_model(write_float(model), file)

            def taken(some: Sequence[ImageRef]) -> list[Part]:
                parts = split(some, self.count, model.batch or options.batch)
                tasks = [
                    Task(
                        f"calibrate {number}/{len(parts)}",
                        observe_part,
                        {"file": file, "values": sorted(values), "refs": part, "options": options},
                    )
                    for number, part in enumerate(parts, 1)
                ]
                return self.do_all(tasks)

            found = taken(refs)
            skipped = [image for _, images in found for image in images.skipped]
            if skipped:
                bad = {path for path, _ in skipped}
                found = taken([ref for ref in refs if str(ref.path) not in bad])
        on_step(len(refs))
        return joined(found, options.seed, skipped)


def split(refs: Sequence[ImageRef], count: int, batch: int) -> list[tuple[ImageRef, ...]]:
    """Neighbours together, whole batches each, nothing empty."""
    batches = -(-len(refs) // batch)
    count = max(1, min(count, batches))
    ends = [batch * (batches * part // count) for part in range(count + 1)]
    return [tuple(refs[start:end]) for start, end in pairwise(ends)]


def observe_part(
    file: Path, values: Sequence[str], refs: Sequence[ImageRef], options: Calibration
) -> Part:
    """Statistics of some images; the task."""
    graph = load_model(file)
    model = FloatModel(graph, detector_from_metadata(graph.metadata_props, str(file)))
    return observe_images(model, values, refs, options, lambda done: None)


def joined(parts: Sequence[Part], seed: int, skipped: Sequence[tuple[str, str]]) -> Part:
    """The statistics of all parts.

    Args:
        parts: in the order of their images.
        seed: of the draw.
        skipped: images that could not be read.
    """
    tensors = {
        name: reduce(merge, (stats.tensors[name] for stats, _ in parts))
        for name in parts[0][0].tensors
    }
    images = tuple(image for stats, _ in parts for image in stats.images)
    used = tuple(image for _, part in parts for image in part.used)
    return CalibrationStats(tensors, images), CalibrationImages(seed, used, tuple(skipped))
