"""Tables of what was decided for a file, layer by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from detq.cli.output import number_of, print_table


def show_record(record: Any) -> None:
    """INT8 or not, why, scales and tie group of every layer; boundaries; uneven ties.

    Args:
        record: a ``Record``, or what its JSON holds.
    """
    told = msgspec.to_builtins(record)
    show_answers(f"{told['target']}: {told['note']}", told["layers"])
    crossings = told["boundaries"]["crossings"]
    into = sum(crossing["to_int8"] for crossing in crossings)
    print(
        f"{into} tensors into INT8, {len(crossings) - into} out of it, around "
        f"{number_of(told['boundaries']['islands'], 'float island')}"
    )
    for tie in told["ties"]:
        cost = f"loses {tie['bits_lost']:.1f} bits in the group of {tie['group']}"
        readers = ", ".join(tie["readers"])
        gain = f"; cut, {readers} would have them" if readers else "; cutting it gives none back"
        print(f"{tie['value']} {cost}{gain}")


def show_answers(title: str, answers: Sequence[Mapping[str, Any]]) -> None:
    """The table of the layers."""
    int8 = sum(answer["int8"] for answer in answers)
    rows = [
        [
            answer["layer"],
            "INT8" if answer["int8"] else "float",
            _number(answer["input_scale"]),
            _span(answer["weight_scales"]),
            _group(answer),
            answer["why"],
        ]
        for answer in answers
    ]
    columns = ["layer", "type", "input scale", "weight scales", "tie group", "why"]
    print_table(f"{title}: {int8} of {len(rows)} layers INT8", columns, rows, ("tie group", "why"))


def _number(scale: float | None) -> str:
    return "" if scale is None else f"{scale:.4g}"


def _span(scales: Sequence[float] | None) -> str:
    if not scales:
        return ""
    low, high = scales
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _group(answer: Mapping[str, Any]) -> str:
    return f"{answer['group']} ({answer['members']})" if answer["members"] > 1 else ""
