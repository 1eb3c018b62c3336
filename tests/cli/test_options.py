from detq.cli.options import words_from


def test_what_says_something_becomes_words() -> None:
    given = {
        "target": "trt10.3", "batch": ["1", "4"], "size": (384, 640), "cuda_graph": True,
        "dla": 0, "sparse": False, "threads": None, "backend": [],
    }  # fmt: skip
    assert words_from(given) == [
        "--target", "trt10.3", "--batch", "1", "--batch", "4", "--size", "384x640",
        "--cuda-graph", "--dla", "0",
    ]  # fmt: skip
