import re

from detq_eval.report.scatter import Point, scatter

ONE = re.compile(r'<title>(.*?)</title><circle class="(\w+)" cx="([\d.]+)%" cy="([\d.]+)"')


def test_points_stand_where_their_values_are() -> None:
    chart = scatter(
        [Point(0, 0, "zero"), Point(50, 1, "half", "float"), Point(100, 2, "<all>")], "ms", "drop"
    )
    found = ONE.findall(chart)
    assert [(told, kind) for told, kind, _, _ in found] == [
        ("zero", "int8"), ("half", "float"), ("&lt;all&gt;", "int8"),
    ]  # fmt: skip
    across = [float(x) for _, _, x, _ in found]
    up = [float(y) for _, _, _, y in found]
    # A tenth is left beyond the largest; two digits are written.
    assert [round(100 * x / across[2]) for x in across] == [0, 50, 100]
    assert up[0] > up[1] > up[2]
    assert abs((up[0] - up[1]) - (up[1] - up[2])) < 0.2
    assert ">ms</text>" in chart and ">drop</text>" in chart


def test_values_below_zero_are_drawn_at_zero() -> None:
    (zero, below) = ONE.findall(scatter([Point(0, 0, "a"), Point(-5, -5, "b")], "", ""))
    assert zero[2:] == below[2:]
