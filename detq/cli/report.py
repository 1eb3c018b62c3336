"""``detq report``."""

from pathlib import Path

from detq.cli.output import Output, number_of
from detq.errors import InputError

PAGE = "report.html"
COMPARISON = "comparison.html"


def report(
    run: Path,
    /,
    *others: Path,
    output: Path | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> None:
    """Write the page of a run again from what its folder holds, or put runs side by side.

    Example: detq report runs/kl

    Example: detq report runs/minmax runs/kl --output minmax-or-kl.html

    Args:
        run: Folder of a finished detq run or quantize.
        others: Folders of other runs to compare it with.
        output: HTML file to write; report.html in the folder of the run, or comparison.html
            here for several.
        out: How the result is told.
    """
    from detq.whole_file import written_whole
    from detq_eval.report.page import comparison_html, report_html

    to = output or (Path(COMPARISON) if others else run / PAGE)
    if to.is_dir():
        raise InputError("is a folder", where=str(to), hint="give --output the name of a file")
    html = comparison_html([run, *others]) if others else report_html(run)
    with written_whole(to) as temporary:
        temporary.write_text(html, encoding="utf-8")
    figures = {"report": str(to), "runs": [str(folder) for folder in (run, *others)]}
    size = to.stat().st_size / 1e6
    told = f"{to}: {number_of(1 + len(others), 'run')}, {size:.1f} MB"
    out.tell(figures, lambda: print(told))
