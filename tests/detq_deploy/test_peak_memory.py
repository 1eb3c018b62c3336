import subprocess
import sys

import numpy as np

from detq_deploy.peak_memory import peak_rss_mib

CHILD = "from detq_deploy.peak_memory import peak_rss_mib; print(peak_rss_mib())"


def test_the_peak_stays_after_memory_is_freed() -> None:
    np.ones(200 * 2**20, np.uint8)
    assert peak_rss_mib() > 200


def test_a_child_does_not_count_its_parents_memory() -> None:
    held = np.ones(300 * 2**20, np.uint8)
    printed = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, check=True).stdout
    assert held.any()
    assert 1 < float(printed) < 150
