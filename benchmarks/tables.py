"""The result files as the tables of the documentation.

    python -m benchmarks.tables          # writes them into docs/methods.md and docs/tuning.md
    python -m benchmarks.tables --all    # prints every row instead

A table stands in a page between ``<!-- table: NAME -->`` and ``<!-- end -->``.
"""

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from detq.tune.methods import METHODS

RESULTS = Path(__file__).parent / "results"
PAGES = [Path(__file__).parent.parent / "docs" / name for name in ("methods.md", "tuning.md")]
PLACE = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
Cell = Mapping[str, Any]
Cells = Mapping[str, Cell]
Row = Sequence[str]

ABLATION = (
    "cell", "AP", "agreement", "missed, invented", "dB boxes", "dB scores", "more MACs", "CPU s",
)  # fmt: skip
OUTLIERS = (
    "cell", "copies", "AP from", "to", "agreement", "missed, invented", "dB boxes", "dB scores",
)  # fmt: skip
PEERS = (
    "tool", "AP simulated", "ONNX Runtime", "OpenVINO", "as uint8", "agreement", "times as fast",
    "INT8 layers", "CPU s", "peak MiB",
)  # fmt: skip
BUDGET = (
    "", "AP", "in OpenVINO", "as uint8", "times as fast there (CPU time)", "float MACs",
    "images run to judge", "CPU s",
)  # fmt: skip
WHO = {
    "float": "float",
    "start": "plain min-max",
    "detq": "`detq tune`",
    "nncf": "NNCF accuracy-aware",
}
# The rows of an ablation that the text speaks of.
RANGES = [
    f"W8A8, {method}, plain, {even}, none" for even in ("as is", "measured") for method in METHODS
]
LEARNED = [
    f"W8A8, mse, plain, measured, {learner}"
    for learner in ("bias correction", "qprep, qprep learned", "qprep, adaround", "qprep, abc",
                    "abc")
]  # fmt: skip
FINE = [
    "W6A6, minmax, plain, as is, none",
    "W6A6, mse, plain, as is, qprep",
    "W6A6, mse, plain, measured, none",
    "W6A6, mse, plain, measured, qprep",
    "W6A6, mse, plain, measured, qprep, adaround",
    "W6A6, mse, plain, measured, qprep, abc",
    "W6A6, mse, cfws, measured, qprep",
    "W4A8, mse, plain, measured, qprep",
    "W4A8, mse, plain, measured, qprep, abc",
]
KERNELS = [
    "W8A8, mse, cfws, measured, none",
    "W8A8, minmax, plain, as is, none, weights per tensor",
    "W8A8, minmax, plain, measured, none, weights per tensor",
    "W8A8, minmax, cfws, as is, none, weights per tensor",
    "W8A8, minmax, cfws, measured, none, weights per tensor",
]
SPLIT = [
    "W4A8, mse, cfws, measured, none",
    "W4A8, mse, cfws, as is, qprep",
    "W4A8, mse, cfws, measured, qprep",
]
EVENED = [f"W8A8, {method}, plain, measured, qprep" for method in METHODS]
SHOWN = {
    "lite": [
        *RANGES, *EVENED, *LEARNED, "W8A8, minmax, plain, spread, none", *KERNELS, *FINE,
    ],
    "person": [*RANGES, *EVENED, *LEARNED, *KERNELS, *FINE, *SPLIT],
    "outliers-0": [*RANGES, *EVENED, *LEARNED, *KERNELS, *FINE, *SPLIT],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="print every row")
    if parser.parse_args().all:
        for path in sorted(RESULTS.glob("*.json")):
            if path.name.split(".")[0] in TABLES:
                print(f"\n{path.stem}\n\n{table(path.stem, all_rows=True)}", end="")
        return
    for page in PAGES:
        page.write_text(filled(page.read_text()))


def filled(page: str) -> str:
    """A page with its tables as the result files have them."""
    return PLACE.sub(lambda place: f"{place[1]}{table(place[2])}{place[4]}", page)


def table(name: str, *, all_rows: bool = False) -> str:
    """A result file as Markdown.

    Args:
        name: of the file, as ``ablation.lite``.
        all_rows: not only those that the documentation shows.
    """
    kind, _, subject = name.partition(".")
    heads, rows = TABLES[kind]
    cells: Cells = json.loads((RESULTS / f"{name}.json").read_text())["cells"]
    if kind == "ablation" and not all_rows:
        cells = {row: cells[row] for row in SHOWN[subject] if row in cells}
    lines = [heads, ["---"] * len(heads), *rows(cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def ablation(cells: Cells) -> Iterable[Row]:
    for name, cell in cells.items():
        more = f"{100 * cell['extra_macs']:.0f} %" if cell["extra_macs"] else ""
        yield [name, f"{cell['AP']:.2f}", *qualities([cell]), more, f"{cell['cpu_seconds']:.0f}"]


def outliers(cells: Cells) -> Iterable[Row]:
    """Means over the copies."""
    for name, some in grouped(cells, lambda name: name.split(": ")[1]).items():
        aps = [cell["AP"] for cell in some]
        yield [name, str(len(some)), f"{min(aps):.2f}", f"{max(aps):.2f}", *qualities(some)]


def qualities(cells: Sequence[Cell]) -> Iterable[str]:
    """What can be had without labels."""
    agreed = [cell["agreement"] for cell in cells]
    yield mean(agreed, "AP", ".1f")
    yield f"{mean(agreed, 'missed', '.0f')}, {mean(agreed, 'invented', '.0f')}"
    yield mean(cells, "boxes_snr_db", ".1f")
    yield mean(cells, "scores_snr_db", ".1f")


def peers(cells: Cells) -> Iterable[Row]:
    """Accuracy of every draw, means of the rest."""
    contenders = {name: cell for name, cell in cells.items() if name != "float"}
    for name, some in grouped(contenders, lambda name: name.split(", seed")[0]).items():
        yield [
            name,
            each(some, "AP_simulated"),
            each(some, "AP_onnxruntime"),
            each(some, "AP_openvino"),
            each(some, "AP_openvino_uint8"),
            each([cell["agreement"] for cell in some], "AP", ".1f"),
            mean(some, "openvino_cpu_speedup", ".2f"),
            mean(some, "int8_convolutions", ".0f"),
            mean(some, "cpu_seconds", ".0f"),
            mean(some, "peak_rss_mib", ".0f"),
        ]


def budget(cells: Cells) -> Iterable[Row]:
    for name, title in WHO.items():
        cell = cells.get(name)
        if cell is not None:
            share = cell.get("float_macs_share")
            yield [
                title,
                each([cell], "AP_simulated"),
                each([cell], "AP_openvino"),
                each([cell], "AP_openvino_uint8"),
                each([cell], "openvino_cpu_speedup"),
                "" if share is None else f"{100 * share:.2f} %",
                each([cell.get("evaluations", {})], "images", ",d"),
                each([cell], "cpu_seconds", ",.0f"),
            ]


def grouped(cells: Cells, key: Callable[[str], str]) -> Mapping[str, Sequence[Cell]]:
    found = defaultdict(list)
    for name, cell in cells.items():
        found[key(name)].append(cell)
    return found


def each(cells: Sequence[Cell], key: str, form: str = ".2f") -> str:
    return ", ".join(format(cell[key], form) for cell in cells if cell.get(key) is not None)


def mean(cells: Sequence[Cell], key: str, form: str) -> str:
    values = [cell[key] for cell in cells if cell.get(key) is not None]
    return format(fmean(values), form) if values else ""


TABLES: Mapping[str, tuple[Row, Callable[[Cells], Iterable[Row]]]] = {
    "ablation": (ABLATION, ablation),
    "outliers": (OUTLIERS, outliers),
    "peers": (PEERS, peers),
    "budget": (BUDGET, budget),
}


if __name__ == "__main__":
    main()
