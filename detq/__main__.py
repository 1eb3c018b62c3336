"""``python -m detq`` is the ``detq`` command."""

from detq.cli import main

main()
