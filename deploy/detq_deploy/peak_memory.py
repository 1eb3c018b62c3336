"""The most memory a process has held."""

import re
import sys
from pathlib import Path


def peak_rss_mib() -> float:
    """Peak resident set of this process in MiB; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage would count the parent's memory, which a child starts with on Linux.
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        return int(found.group(1)) / 1024 if found else 0.0
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes there
    return 0.0
