"""``detq gate``."""

from pathlib import Path
from typing import TYPE_CHECKING

from detq.cli.output import Output, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detq.gate import Check


def gate(
    run: Path,
    /,
    *,
    max_drop: float | None = None,
    min_ap: float | None = None,
    min_agreement: float | None = None,
    max_latency_ms: float | None = None,
    min_speedup: float | None = None,
    junit: Path | None = None,
    out: Output = Output(),  # noqa: B008 - frozen
) -> int:
    """Check the figures of a finished run against limits; for CI.

    Every engine that the run measured has to keep them. Ends with 1 if one does not.

    Example: detq gate runs/person --max-drop 0.5 --min-ap 0.08

    Args:
        run: Folder of a finished detq run.
        max_drop: Points of AP (0 to 100) that may be lost against the float model.
        min_ap: COCO AP to reach, 0 to 1.
        min_agreement: AP with the float model's boxes as the truth, 0 to 1.
        max_latency_ms: Median milliseconds per image.
        min_speedup: Times as fast as the float model.
        junit: File for the checks in JUnit's XML form.
        out: How the result is told.
    """
    from detq.gate import METRICS, Limits, check, junit_xml, read_figures
    from detq.whole_file import require_apart, written_whole

    if junit is not None:
        require_apart(junit, run / METRICS)
    limits = Limits(
        max_drop=max_drop,
        min_ap=min_ap,
        min_agreement=min_agreement,
        max_latency_ms=max_latency_ms,
        min_speedup=min_speedup,
    )
    checks = check(read_figures(run), limits, str(run))
    if junit is not None:
        with written_whole(junit) as temporary:
            temporary.write_bytes(junit_xml(run.resolve().name, checks))
    passed = all(one.passed for one in checks)
    out.tell({"run": str(run), "passed": passed, "checks": checks}, lambda: _show(checks))
    return 0 if passed else 1


def _show(checks: "Sequence[Check]") -> None:
    rows = [[one.what, "kept" if one.passed else "BROKEN", one.told] for one in checks]
    print_table("", ["limit", "", "found"], rows, words=["", "found"])
