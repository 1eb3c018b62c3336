from pathlib import Path

import numpy as np

from detq.data.images import ImageRef
from detq.detection import Detections
from detq_eval.classes import ClassMap
from detq_eval.coco_rows import detections_as_coco


def test_category_ids_may_be_as_large_as_ids_get() -> None:
    ids = (2**31, 2**63 - 1)
    boxes = np.array([[0, 0, 4, 2], [1, 1, 3, 3]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8], np.float32), np.array([0, 1]))
    rows = detections_as_coco([(ImageRef(0, Path("a")), found)], ClassMap(("a", "b"), ids, "name"))
    assert tuple(row["category_id"] for row in rows) == ids
