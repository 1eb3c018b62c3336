import json
from pathlib import Path

import numpy as np
import pytest

from detq.errors import CheckpointError
from pickles import call, dict_of, module, named, number, text, tuple_of, write_zip
from yolov6_adapter import Checkpoint, read_checkpoint
from yolov6_adapter.coco_names import COCO_NAMES


def read(data: Path, name: str) -> Checkpoint:
    return read_checkpoint(data / "fixtures" / f"{name}.pt")


def test_the_averaged_weights_are_taken_where_there_are_some(data: Path) -> None:
    entries = json.loads((data / "fixtures" / "index.json").read_text())["fixtures"]
    for entry in entries:
        if entry["name"] in ("v4_n_fuseab_train", "v1_n_train", "v4_n_fused"):
            assert read(data, entry["name"]).key == entry["key_used"]


def test_what_the_training_left_is_read(data: Path) -> None:
    checkpoint = read(data, "v4_n_fuseab_train")
    assert checkpoint.epoch == 7
    assert checkpoint.results == (0.3, 0.26)[: len(checkpoint.results)]
    assert checkpoint.sha256.startswith("c6d2ac7f3dd0a585")


def test_weights_are_float32_whatever_the_file_holds(data: Path) -> None:
    for name in ("v4_n_fused", "v2_s_f32", "v1_t_legacy"):
        stem = read(data, name).root.child("backbone").child("stem")
        dense = stem.child("rbr_dense").child("conv").array("weight", 4)
        assert dense.dtype == np.float32
        assert dense.shape == (8, 3, 3, 3)
