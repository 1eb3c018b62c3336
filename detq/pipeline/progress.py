"""One way through a recipe: which step it is at, and which it did not have to take."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from detq.graph.files import detector_from_metadata, load_model
from detq.model import FloatModel
from detq.pipeline.tools import Tools
from detq.recipe import Recipe
from detq.run_dir import RunDir, Step
from detq.whole_file import written_whole

METRICS, REPORT = "metrics.json", "report.html"
FLOAT = "float.onnx"


@dataclass(frozen=True, slots=True)
class Made:
    """A model file and the step that left it.

    Attributes:
        file: name in the run folder.
        step: after which the steps that read it come.
        plan: name of its placement; empty for the float model.
        learned: name of the record of its learners; empty if there were none.
        answers: name of the record of what was decided for it; empty for the float model.
    """

    file: str
    step: Step
    plan: str = ""
    learned: str = ""
    answers: str = ""


@dataclass
class Run:
    """A recipe under way.

    Attributes:
        recipe: with absolute paths.
        folder: open run folder.
        tools: what lies above the pipeline.
        total: number of steps.
        taken: steps so far.
    """

    recipe: Recipe
    folder: RunDir
    tools: Tools
    total: int
    taken: list[Step] = field(default_factory=list)

    def step(
        self,
        name: str,
        title: str,
        work: Callable[[], object],
        *,
        inputs: Mapping[str, object],
        outputs: Sequence[str],
        after: Sequence[Step] = (),
        under_same: bool = False,
    ) -> Step:
        """Do a step, or keep what it left before; say so either way."""
        place = f"[{len(self.taken) + 1}/{self.total}] {name}"

        def announced() -> None:
            self.tools.note(f"{place}: {title}")
            for told in (METRICS, REPORT):  # what they say is of other files now
                self.path(told).unlink(missing_ok=True)
            work()

        step = self.folder.step(
            name, announced, inputs=inputs, outputs=outputs, after=after, under_same=under_same
        )
        if step.reused:
            self.tools.note(f"{place}: kept")
        self.taken.append(step)
        return step

    def path(self, name: str) -> Path:
        """A file in the run folder."""
        return self.folder.path / name

    def float_model(self, file: str = FLOAT) -> FloatModel:
        """A float network that a step left, the merged one if not said otherwise."""
        path = self.path(file)
        model = load_model(path)
        return FloatModel(model, detector_from_metadata(model.metadata_props, str(path)))

    def write_json(self, name: str, value: object) -> None:
        """Leave a record for people and for later steps."""
        text = msgspec.json.encode(value, enc_hook=str)
        self.write_bytes(name, msgspec.json.format(text, indent=1) + b"\n")

    def read_json(self, name: str) -> Any:
        """What ``write_json`` left."""
        return msgspec.json.decode(self.path(name).read_bytes())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Leave a file, whole or not at all."""
        with written_whole(self.path(name)) as temporary:
            temporary.write_bytes(content)
