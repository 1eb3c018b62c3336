"""The command line: the only place where all packages meet."""

import sys


def main() -> None:
    """Entry point of the ``detq`` command."""
    from detq.cli.app import main as run

    sys.exit(run())
