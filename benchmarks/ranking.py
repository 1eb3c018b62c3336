"""Whether agreement, which needs no labels, ranks quantized variants as COCO's AP does.

    python -m benchmarks.ranking

Reads ``benchmarks/results/ablation.*.json`` and writes ``ranking.json`` beside them: Spearman's
and Kendall's rank correlation with AP of what can be had without labels, over all variants of a
model, and over the better half by agreement, where differences are small.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detq.whole_file import written_whole

RESULTS = Path(__file__).parent / "results"
Cell = Mapping[str, Any]
FIGURES: Mapping[str, Callable[[Cell], float]] = {
    "agreement": lambda cell: cell["agreement"]["AP"],
    "missed and invented": lambda cell: (
        -(cell["agreement"]["missed"] + cell["agreement"]["invented"])
    ),
    "score shift": lambda cell: -abs(cell["agreement"]["score_shift"]),
    "scores_snr_db": lambda cell: cell["scores_snr_db"],
    "boxes_snr_db": lambda cell: cell["boxes_snr_db"],
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = {}
    for path in sorted(RESULTS.glob("ablation.*.json")):
        cells = list(json.loads(path.read_text())["cells"].values())
        better = sorted(cells, key=FIGURES["agreement"], reverse=True)[: (len(cells) + 1) // 2]
        subject = path.name.split(".")[1]
        found[subject] = {
            "all": correlations(cells),
            "better half": correlations(better),
        }
        print(subject, json.dumps(found[subject], indent=1))
    with written_whole(RESULTS / "ranking.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")


def correlations(cells: Sequence[Cell]) -> dict[str, Any]:
    ap = np.array([cell["AP"] for cell in cells])
    of = {name: np.array([figure(cell) for cell in cells]) for name, figure in FIGURES.items()}
    return {
        "variants": len(cells),
        "AP": [float(ap.min()), float(ap.max())],
        "spearman": {name: round(spearman(values, ap), 3) for name, values in of.items()},
        "kendall": {name: round(kendall(values, ap), 3) for name, values in of.items()},
    }


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's correlation of the ranks, equal values at their mean rank."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def kendall(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Kendall's tau-b: pairs in the same order less those in the opposite one, ties apart."""
    first, second = (np.sign(x[:, None] - x[None, :]) for x in (a, b))
    together = float((first * second).sum())
    return together / float(np.sqrt((first**2).sum() * (second**2).sum()))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    below = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    ranks: NDArray[np.float64] = below + (equal - 1) / 2
    return ranks


if __name__ == "__main__":
    main()
