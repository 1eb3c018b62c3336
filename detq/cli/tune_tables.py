"""What ``detq tune`` tells a person."""

from pathlib import Path
from typing import TYPE_CHECKING

from detq.cli.output import number_of, print_table

if TYPE_CHECKING:
    from detq.tune.budget import Tried
    from detq.tune.records import Sensitivity
    from detq.tune.search import Found

PAGE, FRONT = "tune.html", "front"
WORST = 12  # layers that are printed; the page and --json tell all


def figures_of(tried: "Tried") -> str:
    """One point in a line."""
    parts = [f"agreement {100 * tried.agreement:.2f}"]
    if tried.ap is not None:
        parts.append(f"AP {100 * tried.ap:.2f}")
    if tried.drop is not None:
        parts.append(f"drop {tried.drop:.2f}")
    parts.append(f"{100 * tried.float_macs:.1f} % of MACs float")
    if tried.latency_ms is not None:
        parts.append(f"{tried.latency_ms:.2f} ms")
    if tried.speedup is not None:
        parts.append(f"{tried.speedup:.2f} times as fast")
    return ", ".join(parts)


def show(noise: "Sensitivity | None", found: "Found | None", output: Path) -> None:
    """Tables of what was asked for."""
    if noise is not None:
        _noise(noise)
    if found is not None:
        _search(found, output)
    print(f"page: {output / PAGE}")


def _noise(noise: "Sensitivity") -> None:
    from detq.tune.records import most_gained, snr_db

    rows = [
        [
            layer.node,
            f"{snr_db(layer.own):.1f}",
            f"{snr_db(layer.passed):.1f}",
            f"{snr_db(layer.without):.2f}",
            "" if layer.macs_share is None else f"{100 * layer.macs_share:.2f} %",
            "" if layer.cost_ms is None else f"{layer.cost_ms:.3f}",
        ]
        for layer in most_gained(noise, WORST)
    ]
    columns = ["layer", "own dB", "at the head dB", "head dB without", "MACs", "ms in float"]
    title = (
        f"signal over noise at the head {snr_db(noise.head):.2f} dB with everything INT8, "
        f"{number_of(noise.images, 'image')}; the {len(rows)} layers that most is gained from"
    )
    print_table(title, columns, rows)
    rows = [
        [
            f"{one.what} {one.node}".strip(),
            f"{snr_db(one.head):.2f}",
            "" if one.estimate is None else f"{snr_db(one.estimate):.2f}",
            "" if one.agreement is None else f"{100 * one.agreement:.2f}",
        ]
        for one in noise.confirmed
    ]
    print_table("run, not estimated", ["INT8", "head dB", "estimate", "agreement"], rows)


def _search(found: "Found", output: Path) -> None:
    def cells(tried: "Tried") -> list[str]:
        return [
            tried.what,
            f"{100 * tried.agreement:.2f}",
            "" if tried.ap is None else f"{100 * tried.ap:.2f}",
            "" if tried.drop is None else f"{tried.drop:.2f}",
            f"{100 * tried.float_macs:.1f} %",
            "" if tried.latency_ms is None else f"{tried.latency_ms:.2f}",
            "" if tried.speedup is None else f"{tried.speedup:.2f}",
        ]

    columns = ["point", "agreement", "AP", "drop", "float MACs", "ms", "speed-up"]
    rows = [
        [*cells(point), f"{FRONT}/{number:02}.yaml"] for number, point in enumerate(found.front, 1)
    ]
    title = f"front of {number_of(len(found.tried), 'evaluation')}, 0 to 100"
    print_table(title, [*columns, "recipe"], rows, words=["recipe"])
    said = "the budget is kept by" if found.kept else "the budget cannot be kept; nearest comes"
    print(f"{said} {found.best.what}: {figures_of(found.best)}")
    print(f"made again by: detq run {output / 'best.yaml'} --output DIR")
