"""Which method helps on which model: range methods x CFWS x channel-wise scales x learners.

    DETQ_DATA=... python -m benchmarks.ablation lite --work runs/ablation --threads 1

Writes ``benchmarks/results/ablation.<subject>.json``, a cell at a time; what is in the file is
not measured again, so the command goes on where it was stopped. Subjects: person, lite, and
outliers-0 … outliers-4 (see ``benchmarks/subjects.py``). Every cell is simulated with TensorRT's
numerics, every convolution but the prediction layers rounded.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from msgspec.structs import replace

from benchmarks.cells import Bench, Cells, setting_of
from benchmarks.subjects import base_recipe
from detq.recipe import (
    Abc,
    AdaRound,
    BiasCorrection,
    ChannelWise,
    CoarseFine,
    Entropy,
    Kl,
    LearnMethod,
    Percentile,
    QPRep,
    QPRepLearned,
    RangeMethod,
    Recipe,
    Weights,
)
from detq.tune.methods import METHODS

STEPS = 50  # of the learners by gradient, per layer, block or stage
RESULTS = Path(__file__).parent / "results"
# How channels are brought to one range.
EVEN: Mapping[str, ChannelWise | None] = {
    "measured": ChannelWise(),
    "spread": ChannelWise(choose="spread", range="minmax"),
    "as is": None,
}
# Every kernel larger than 1 x 1 is depthwise, and no branches are merged: CFWS splits nothing.
WITHOUT_KERNELS = ("lite",)
VARIANTS: Mapping[str, RangeMethod] = {
    "percentile 99.9": Percentile(percent=99.9),
    "percentile 99.999": Percentile(percent=99.999),
    "entropy, zeros counted": Entropy(count_zeros=True),
    "kl, masked": Kl(divergence="masked"),
    "kl, published": Kl(divergence="published"),
}
LEARNERS: Mapping[str, tuple[LearnMethod, ...]] = {
    "none": (),
    "qprep": (QPRep(),),
    "bias correction": (BiasCorrection(),),
    "qprep, qprep learned": (QPRep(), QPRepLearned(steps=STEPS)),
    "qprep, abc": (QPRep(), Abc(steps=STEPS)),
    "qprep, adaround": (QPRep(), AdaRound(steps=STEPS)),
    "abc": (Abc(steps=STEPS),),
}
CHEAP = ("none", "qprep", "bias correction")


@dataclass(frozen=True)
class Cell:
    """One choice of everything."""

    method: str
    cfws: bool = False
    even: str = "measured"
    learner: str = "none"
    bits: tuple[int, int] = (8, 8)
    weights: str = "minmax"
    per_tensor: bool = False

    @property
    def name(self) -> str:
        """Its key in the results."""
        words = [
            f"W{self.bits[0]}A{self.bits[1]}",
            self.method,
            "cfws" if self.cfws else "plain",
            self.even,
            self.learner,
        ]
        words += [f"weights {self.weights}"] if self.weights != "minmax" else []
        words += ["weights per tensor"] if self.per_tensor else []
        return ", ".join(words)

    @property
    def folder(self) -> str:
        """Cells of one folder share their statistics."""
        clipped = " mse" if self.method == "mse" else ""
        return f"{'cfws' if self.cfws else 'plain'} {self.even}{clipped}"

    def recipe(self, base: Recipe) -> Recipe:
        """The subject's recipe with this cell's choices."""
        return replace(
            base,
            coarse_fine=CoarseFine() if self.cfws else None,
            channel_wise=EVEN[self.even],
            range={**METHODS, **VARIANTS}[self.method],
            activation_bits=self.bits[1],
            weights=Weights(method=self.weights, bits=self.bits[0], per_tensor=self.per_tensor),
            learn=LEARNERS[self.learner],
        )


def grid(kernels: bool) -> Iterator[Cell]:
    """Every cell, those that say most first.

    Args:
        kernels: whether the model has kernels that CFWS splits.
    """
    both, best = ("measured", "as is"), ("minmax", "mse")
    widths, cfws = ((8, 8), (6, 6)), (False, True) if kernels else (False,)
    for bits, even, method in product(widths, both, METHODS):
        yield Cell(method, even=even, bits=bits)
        if method in best:
            yield Cell(method, even=even, learner="qprep", bits=bits)
    for split, even in product(cfws, both):
        yield Cell("minmax", split, even, per_tensor=True)
        yield Cell("mse", split, even, bits=(4, 8))
        yield Cell("mse", split, even, learner="qprep", bits=(4, 8))
    for bits, method in product(widths, best):
        yield Cell(method, even="spread", bits=bits)
    for bits, even, method in product(widths, both, best if kernels else ()):
        yield Cell(method, True, even, bits=bits)
        yield Cell(method, True, even, learner="qprep", bits=bits)
    for bits, method in product(widths, METHODS):
        yield Cell(method, learner="qprep", bits=bits)
    for even in both:
        yield Cell("minmax", even=even, weights="mse")
        yield Cell("mse", even=even, learner="bias correction")
    for bits, learner in product(reversed(widths), LEARNERS):
        if learner not in CHEAP:
            yield Cell("mse", learner=learner, bits=bits)
    for bits in widths:
        yield Cell("mse", even="as is", learner="qprep, abc", bits=bits)
    for even, method in product(both, VARIANTS):
        yield Cell(method, even=even)
    yield Cell("mse", learner="qprep, abc", bits=(4, 8))
    yield Cell("mse", learner="qprep, adaround", bits=(4, 8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject")
    parser.add_argument("--work", type=Path, required=True, help="for runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="begin no cell later than that")
    parser.add_argument("--learners", nargs="*", choices=LEARNERS, default=[*LEARNERS])
    parser.add_argument("--only", default="", help="cells with this in their name, as W6A6")
    arguments = parser.parse_args()
    base = base_recipe(arguments.subject, arguments.work, arguments.threads)
    table = Cells(arguments.results / f"ablation.{arguments.subject}.json", setting_of(base))
    until = time.monotonic() + 60 * (arguments.minutes or float("inf"))
    cells = grid(kernels=arguments.subject not in WITHOUT_KERNELS)
    wanted = (cell for cell in dict.fromkeys(cells) if cell.learner in arguments.learners)
    missing = [cell for cell in wanted if arguments.only in cell.name and not table.has(cell.name)]
    bench = Bench(base, arguments.work / arguments.subject)
    for cell in list(missing):
        if time.monotonic() > until:
            break
        if not table.has(cell.name):  # of another process
            table.add(cell.name, bench.measure(cell.recipe(base), cell.folder))
        missing.remove(cell)
    for cell in missing:
        print("missing:", cell.name)


if __name__ == "__main__":
    main()
