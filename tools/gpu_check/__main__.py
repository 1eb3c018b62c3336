"""``python -m tools.gpu_check prepare FOLDER``, then there ``run FOLDER --output result.json``."""

import argparse
import os
import sys
from pathlib import Path

from detq.errors import DetqError

USER_ERROR = 2


def main(words: list[str] | None = None) -> int:
    """Run one of the two halves, or both."""
    options = _arguments().parse_args(words)
    try:
        if options.half in ("prepare", "all"):
            _prepare(options)
        if options.half in ("run", "all"):
            _run(options)
    except DetqError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return USER_ERROR
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_check", description=__doc__)
    parser.add_argument("half", choices=("prepare", "run", "all"))
    parser.add_argument("folder", type=Path, help="what travels to the GPU")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DETQ_DATA") or "data"))
    parser.add_argument("--target", default="trt8.5", help="of the INT8 files")
    parser.add_argument("--count", type=int, help="pictures to score; all if not given")
    parser.add_argument("--output", type=Path, default=Path("gpu-check.json"), help="the record")
    parser.add_argument("--own-kernels", action="store_true", help="build without cuBLAS and cuDNN")
    parser.add_argument("--quiet", action="store_true")
    return parser


def _prepare(options: argparse.Namespace) -> None:
    from tools.gpu_check.prepare import prepare

    if options.half == "all":
        from detq_deploy.trt.machine import this_machine

        this_machine()  # what is missing is told before minutes are spent
    prepare(
        options.data,
        options.folder,
        target=options.target,
        count=options.count,
        quiet=options.quiet,
    )


def _run(options: argparse.Namespace) -> None:
    from tools.gpu_check.run import run

    record = run(
        options.folder, options.output, own_kernels=options.own_kernels, quiet=options.quiet
    )
    failed = [
        name for name, found in record.items() if isinstance(found, dict) and "failed" in found
    ]
    print(f"{options.output}: {record['title']}, {len(failed)} steps failed")
    for name in failed:
        print(f"{name}: {record[name]['failed']}")


if __name__ == "__main__":
    sys.exit(main())
