import msgspec

from detq_eval.report.verdict import cautions, tiles, verdict
from tests.detq_eval.report.made_runs import HOSTILE, least, metrics, score, timing, whole


def test_the_run_in_one_sentence() -> None:
    assert verdict(whole()) == (
        "In OpenVINO 1 (AVX2), YOLOv6 N goes from 40.00 AP in float to 37.50 AP in INT8, "
        "runs 2.00 times as fast and takes 1.0 MB instead of 4.0 MB."
    )


def test_nothing_is_said_that_was_not_measured() -> None:
    assert verdict(least()) == "The network in INT8: nothing was measured."
    assert [tile.note for tile in tiles(least())] == ["not measured"] * 2 + ["missing"] + [
        "1 stay float"
    ]
    timed = metrics(timings={"float": timing(8, 1), "openvino": timing(4, 2)})
    run = msgspec.structs.replace(least(), metrics=timed)
    assert verdict(run) == "In OpenVINO 1 (AVX2), the network runs 2.00 times as fast."
    scored = metrics({"float openvino": score(0.4), "openvino openvino": score(0.4)})
    run = msgspec.structs.replace(least(), metrics=scored)
    assert verdict(run) == (
        "In OpenVINO 1 (AVX2), the network goes from 40.00 AP in float to 40.00 AP in INT8."
    )


def test_slower_is_told_as_slower_with_the_reason() -> None:
    slow = timing(8.0, 0.8, ("a", "b", "c", "d"))
    scored = {"float openvino": score(0.4), "openvino openvino": score(0.3)}
    found = metrics(scored, {"float": timing(6.4, 1.0), "openvino": slow})
    run = msgspec.structs.replace(whole(), metrics=found)
    assert "runs 1.25 times slower and takes" in verdict(run)
    assert list(cautions(run)) == [
        "INT8 is slower than float in OpenVINO 1, which runs 4 of 10 convolutions in float: "
        "a, b, c, …"
    ]
    told = msgspec.structs.replace(slow, layers=None)
    found = metrics(scored, {"float": timing(6.4, 1.0), "openvino": told})
    run = msgspec.structs.replace(whole(), metrics=found)
    assert list(cautions(run)) == ["INT8 is slower than float in OpenVINO 1"]


def test_another_engine_for_the_speed_is_named() -> None:
    other = msgspec.structs.replace(timing(4.0, 2.0), engine="ONNX Runtime 2")
    scored = {"float openvino": score(0.4), "openvino openvino": score(0.3)}
    run = msgspec.structs.replace(whole(), metrics=metrics(scored, {"openvino": other}))
    assert "runs 2.00 times as fast in ONNX Runtime 2" in verdict(run)


def test_the_four_figures() -> None:
    assert [(tile.text, tile.note) for tile in tiles(whole())] == [
        ("40.00 → 37.50", "−2.50 points on 10 images"),
        ("2.00 ×", "1.90 to 2.10 (10\u00a0% to 90\u00a0%), AVX2"),
        ("4.0 → 1.0 MB", "25\u00a0% of the float file"),
        ("9 of 10", "1 stay float"),
    ]


def test_what_to_keep_in_mind() -> None:
    assert list(cautions(whole())) == ["few images", HOSTILE]
    assert list(cautions(least())) == [
        "accuracy was not measured: the recipe has no evaluation",
        "speed was not measured: the recipe has no bench",
        "written, but run on no engine here: float.onnx, model.openvino.onnx",
    ]
    half = metrics({"float torch": score(0.4)}, {"float": timing(8, 1)})
    assert list(cautions(msgspec.structs.replace(least(), metrics=half))) == [
        "speed of the INT8 model was not measured",
        "written, but run on no engine here: model.openvino.onnx",
    ]
