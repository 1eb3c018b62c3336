"""The result files as Markdown tables, for ``docs/methods.md``.

python -m benchmarks.tables
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

RESULTS = Path(__file__).parent / "results"
Cells = Mapping[str, Mapping[str, Any]]

FIGURES = ("AP", "drop", "agreement", "missed", "invented", "boxes dB", "scores dB")
PEER = {
    "AP_simulated": "AP simulated",
    "AP_onnxruntime": "ONNX Runtime",
    "AP_openvino": "OpenVINO",
    "AP_openvino_uint8": "the same as uint8",
    "openvino_cpu_speedup": "times as fast",
    "int8_convolutions": "INT8 layers",
    "cpu_seconds": "CPU s",
    "peak_rss_mib": "peak MiB",
}

BUDGET = {
    "AP_simulated": "AP simulated",
    "AP_openvino": "OpenVINO",
    "AP_openvino_uint8": "the same as uint8",
    "openvino_cpu_speedup": "times as fast",
    "float_macs_share": "float MACs, 0 to 1",
    "evaluations": "evaluations",
    "cpu_seconds": "CPU s",
}


def main() -> None:
    for path in sorted(RESULTS.glob("ablation.*.json")):
        show(path, ["cell", *FIGURES, "extra MACs", "CPU s"], ablation(cells_of(path)))
    for path in sorted(RESULTS.glob("outliers.json")):
        show(path, ["cell", "seeds", "AP from", "to", *FIGURES], outliers(cells_of(path)))
    for path in sorted(RESULTS.glob("peers.*.json")):
        show(path, ["tool", *PEER.values(), "agreement"], peers(cells_of(path)))
    for path in sorted(RESULTS.glob("budget.*.json")):
        show(path, ["who", *BUDGET.values()], budget(cells_of(path)))


def cells_of(path: Path) -> Cells:
    found: Cells = json.loads(path.read_text())["cells"]
    return found


def show(path: Path, heads: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    print(f"\n{path.name}\n\n| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def figures_of(cell: Mapping[str, Any]) -> list[float]:
    agreement = cell["agreement"]
    return [
        cell["AP"], cell["drop"], agreement["AP"], agreement["missed"], agreement["invented"],
        cell["boxes_snr_db"], cell["scores_snr_db"],
    ]  # fmt: skip


def ablation(cells: Cells) -> Iterator[Sequence[str]]:
    for name, cell in cells.items():
        more = f"{100 * cell['extra_macs']:.1f} %" if cell["extra_macs"] else ""
        yield [name, *map(told, figures_of(cell)), more, told(cell["cpu_seconds"])]


def outliers(cells: Cells) -> Iterator[Sequence[str]]:
    """The mean over the seeds."""
    by_row = defaultdict(list)
    for name, cell in cells.items():
        by_row[name.split(": ")[1]].append(cell)
    for row, some in by_row.items():
        aps = [cell["AP"] for cell in some]
        means = map(fmean, zip(*map(figures_of, some), strict=True))
        yield [row, str(len(some)), told(min(aps)), told(max(aps)), *map(told, means)]


def peers(cells: Cells) -> Iterator[Sequence[str]]:
    for name, cell in cells.items():
        agreement = cell.get("agreement", {}).get("AP")
        yield [name, *(told(cell.get(key)) for key in PEER), told(agreement)]


def budget(cells: Cells) -> Iterator[Sequence[str]]:
    for name, cell in cells.items():
        yield [name, *(told(cell.get(key)) for key in BUDGET)]


def told(value: float | Mapping[str, int] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{count} {what}" for what, count in value.items())
    return str(value) if isinstance(value, int) else f"{value:.2f}"


if __name__ == "__main__":
    main()
