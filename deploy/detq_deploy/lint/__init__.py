"""Read a Q/DQ file as its consumer will, and say what it would refuse or run slowly."""

from detq_deploy.lint.check import Lint, lint, lint_file
from detq_deploy.lint.findings import Finding

__all__ = ["Finding", "Lint", "lint", "lint_file"]
