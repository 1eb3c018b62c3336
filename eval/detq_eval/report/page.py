"""The page of a run, and the page that puts runs side by side: HTML that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from detq import strict_yaml
from detq_eval.report import figures, layers, verdict
from detq_eval.report.overlay import overlay
from detq_eval.report.records import RunRecords, read_run
from detq_eval.report.side_by_side import compared

TEMPLATES = Path(__file__).parent / "templates"


def report_html(folder: Path) -> str:
    """The page of a finished run, from the records in its folder alone.

    Args:
        folder: of ``detq run`` or ``detq quantize``.

    Raises:
        InputError: it is no run folder, not finished, or made by another version.
    """
    return page(read_run(folder))


def comparison_html(folders: Sequence[Path]) -> str:
    """Finished runs side by side.

    Args:
        folders: of ``detq run`` or ``detq quantize``.

    Raises:
        InputError: one is no run folder, not finished, or made by another version.
    """
    runs = [read_run(folder) for folder in folders]
    return environment().get_template("comparison.html").render(compared=compared(runs))


def page(run: RunRecords) -> str:
    """The page of a run."""
    classes = figures.class_pairs(run)
    recipe = run.manifest.recipe
    return (
        environment()
        .get_template("report.html")
        .render(
            run=run,
            verdict=verdict.verdict(run),
            tiles=verdict.tiles(run),
            cautions=list(verdict.cautions(run)),
            machine=verdict.machine(run),
            engines=figures.engine_rows(run),
            sizes=figures.size_pairs(run),
            changed=classes[: figures.CHANGED],
            classes=classes,
            latency=figures.latency_rows(run),
            noise=layers.noise_chart(run),
            kernels=layers.kernel_chart(run),
            worst=layers.worst_layers(run),
            learned=layers.learned_rows(run),
            splits=layers.split_kernels(run),
            groups=layers.groups(run),
            float_layers=layers.float_layers(run.placement),
            recipe=strict_yaml.dump(dict(recipe)),
            overlay=overlay,
            gallery_classes=_classes_shown(run),
        )
    )


def _classes_shown(run: RunRecords) -> list[str]:
    pictures = run.gallery.pictures if run.gallery is not None else ()
    return sorted({b.name for p in pictures for b in (*p.reference, *p.other)})


def environment() -> Environment:
    """Templates of pages."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,  # class and file names come from users
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
