import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COUNT = int(os.environ.get("DETQ_MUTATIONS", "200"))
FIXTURES = ("v1_t_legacy", "v2_n_base", "v4_n_fuseab_train", "qa_n_v2", "lite_s", "seg_n")
TIMEOUT = 60 + COUNT


def check(files: list[Path], count: int, seed: int) -> None:
    """Each file is refused in one line or read, in 5 seconds and 1 GB; nothing is imported."""
    words = [sys.executable, "-m", "tests.torch_file.mutations", str(count), str(seed)]
    done = subprocess.run(
        [*words, *map(str, files)], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    print(found)
    assert found["wrong"] == []
    assert found["slowest"] < 5
    assert found["imported"] == []
    assert found["read"] + found["refused"] == count
    assert found["read"] >= count // 50 and found["refused"] >= count // 5


def test_damaged_checkpoints_of_ultralytics() -> None:
    golden = ROOT / "tests" / "golden"
    check(sorted(golden.glob("ultralytics_*.pt")), COUNT // 4, seed=1)


def test_damaged_checkpoints_of_every_generation(data: Path) -> None:
    check([data / "fixtures" / f"{name}.pt" for name in FIXTURES], COUNT // 2, seed=2)


def test_a_damaged_checkpoint_as_torch_writes_it_today(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="a checkpoint is made with torch")
    from tests.tiny_checkpoint import tiny_checkpoint

    check([tiny_checkpoint(tmp_path / "best_ckpt.pt")], COUNT // 4, seed=3)
