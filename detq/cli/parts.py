"""Images looked at and scored in parts, by tasks here or on a Ray cluster."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detq.cli.output import Output
from detq.shards import Shards, split
from detq.tasks.drive import Event, Workers, do_all
from detq.tasks.task import Task

if TYPE_CHECKING:
    from detq.data.images import ImageRef
    from detq.detection import Detections
    from detq.pipeline.tools import Tools
    from detq.recipe import Evaluation
    from detq.runner import Runner
    from detq_eval.dataset import Dataset
    from detq_eval.evaluate import Evaluation as Evaluated
    from detq_eval.infer import InferenceOptions

    Found = list[tuple[ImageRef, Detections]]


@contextmanager
def workers_at(ray: str | None) -> "Iterator[Workers[Any]]":
    """Processes of this machine, or of the Ray cluster at an address.

    Raises:
        DetqError: there is no Ray, or no cluster.
    """
    from detq.tasks.local import LocalWorkers
    from detq.tasks.ray_workers import RayWorkers

    with RayWorkers(ray) if ray else LocalWorkers() as workers:
        yield workers


@dataclass(frozen=True)
class Parts:
    """How the images of one run are shared out.

    Attributes:
        count: of parts.
        ray: address of a cluster; processes of this machine if None.
    """

    count: int
    ray: str | None = None

    def tools(self, tools: "Tools", folder: Path, out: Output) -> "Tools":
        """The same tools, statistics and evaluation in parts.

        Args:
            tools: of the pipeline.
            folder: of the run, which all workers see.
            out: is told of tasks that are done again.
        """
        from detq.cli.scoring import score_file

        done = partial(self._do_all, out)

        def evaluate(
            file: Path, backend: str, options: "Evaluation", boxes: Path, reference: Path | None
        ) -> dict[str, Any]:
            by = partial(_evaluate, file, backend, options.threads, self.count, done)
            return score_file(file, backend, options, out, boxes, reference, evaluate_by=by)

        shards = Shards(self.count, done, folder)
        return replace(tools, observe=shards.observe, evaluate=evaluate)

    def _do_all(self, out: Output, tasks: Sequence[Task]) -> list[Any]:
        def tell(event: Event) -> None:
            if event.state == "again":
                out.note(f"{event.task}: {event.told}")

        with workers_at(self.ray) as workers:
            return do_all(tasks, workers, at_once=self.count, on_event=tell)


def _evaluate(
    file: Path,
    backend: str,
    threads: int | None,
    count: int,
    done: "Callable[[Sequence[Task]], list[Any]]",
    runner: "Runner",
    dataset: "Dataset",
    options: "InferenceOptions",
    *,
    on_step: Callable[[int, int], None],
) -> "Evaluated":
    """As ``detq_eval.evaluate.evaluate``, with the same detections."""
    from detq.errors import DatasetError
    from detq_eval.coco_map import score
    from detq_eval.evaluate import Evaluation, describe

    parts = split(dataset.images, count, runner.batch or 1)
    given = {"file": file, "backend": backend, "threads": threads, "options": options}
    tasks = [
        Task(f"score {file.name} {number}/{len(parts)}", detect_part, {**given, "refs": part})
        for number, part in enumerate(parts, 1)
    ]
    started = time.perf_counter()
    results = done(tasks)
    seconds = time.perf_counter() - started
    on_step(len(dataset.images), len(dataset.images))
    found = [one for some, _ in results for one in some]
    skipped = tuple(one for _, some in results for one in some)
    if not found:
        raise DatasetError("no image can be decoded", where=str(dataset.source), hint=skipped[0][1])
    return Evaluation(score(dataset, found), describe(runner, options), found, skipped, seconds)


def detect_part(
    file: Path,
    backend: str,
    threads: int | None,
    options: "InferenceOptions",
    refs: "Sequence[ImageRef]",
) -> "tuple[Found, list[tuple[ImageRef, str]]]":
    """Detections of some images, and images that cannot be decoded; the task."""
    from detq_deploy.backends import open_runner
    from detq_eval.infer import infer

    skipped: list[tuple[ImageRef, str]] = []
    with open_runner(backend, file, threads=threads, busy_cores=True) as runner:
        found = list(
            infer(
                runner,
                refs,
                options,
                on_skip=lambda image, error: skipped.append((image, error.what)),
            )
        )
    return found, skipped
