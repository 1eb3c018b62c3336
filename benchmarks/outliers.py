"""What outliers in a few channels do: copies of the person model, five seeds.

    DETQ_DATA=... python -m benchmarks.outliers --work runs/outliers --threads 1

One channel in sixteen of every block's output is 8 to 32 times as large, the float function is
the same (see ``benchmarks/subjects.py``). Written to ``benchmarks/results/outliers.json``, a cell
at a time; what is in the file is not measured again.
"""

import argparse
from pathlib import Path

from benchmarks.ablation import RESULTS, Cell
from benchmarks.cells import Bench, Cells, setting_of
from benchmarks.subjects import OUTLIERS, base_recipe

ROWS = (
    Cell("minmax", even="as is"),
    Cell("mse", learner="qprep"),
    Cell("minmax", learner="qprep"),
    Cell("minmax"),
    Cell("mse", even="as is", learner="qprep"),
    Cell("percentile", even="as is"),
    Cell("kl", even="as is"),
    Cell("minmax", even="as is", bits=(6, 6)),
    Cell("mse", learner="qprep", bits=(6, 6)),
    Cell("mse", even="as is", bits=(6, 6)),
    Cell("mse", learner="qprep, abc", bits=(6, 6)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="for runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    work, subjects = arguments.work, [f"{OUTLIERS}{seed}" for seed in range(arguments.seeds)]
    bases = {subject: base_recipe(subject, work, arguments.threads) for subject in subjects}
    table = Cells(arguments.results / "outliers.json", setting_of(bases[subjects[0]]))
    benches = {subject: Bench(base, work / subject) for subject, base in bases.items()}
    for row in ROWS:
        for subject, base in bases.items():
            name = f"{subject}: {row.name}"
            if not table.has(name):
                table.add(name, benches[subject].measure(row.recipe(base), row.folder))


if __name__ == "__main__":
    main()
