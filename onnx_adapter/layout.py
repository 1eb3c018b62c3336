"""Which dimension of the output holds the boxes, and which the columns of a box."""

from collections.abc import Sequence

from detq.detection import Layout
from detq.errors import InputError, ModelError

BOX, OBJECTNESS = 4, 1


def find_layout(
    shape: Sequence[int | None], cells: int, stated: Layout | None, where: str
) -> Layout:
    """``rows`` for [B, boxes, columns], ``channels`` for [B, columns, boxes].

    Args:
        shape: of the output.
        cells: of all levels; there are as many boxes, or a multiple (anchors).
        stated: by the user; tells where both are possible.
        where: for errors.

    Raises:
        ModelError: the output is not a box for every cell.
    """
    if len(shape) != 3 or None in shape[1:]:
        raise ModelError(
            f"gives {_written(shape)} where [B, boxes, columns] or [B, columns, boxes] is expected",
            where=where,
            hint="export it with decoded boxes, without NMS",
        )
    _, second, third = (n or 0 for n in shape)
    fits: dict[Layout, bool] = {
        "rows": _is_boxes(second, cells) and third > BOX,
        "channels": _is_boxes(third, cells) and second > BOX,
    }
    possible = [layout for layout in fits if fits[layout] and stated in (None, layout)]
    if not possible:
        raise ModelError(
            f"gives {_written(shape)}, which are not boxes of {cells} cells",
            where=where,
            hint="export it with decoded boxes, without NMS"
            + ("" if stated is None else "; or leave --layout out"),
        )
    return max(possible, key=lambda layout: second if layout == "rows" else third)


def _is_boxes(count: int, cells: int) -> bool:
    return count > 0 and cells > 0 and count % cells == 0


def names_for(columns: int, layout: Layout, names: Sequence[str], where: str) -> tuple[str, ...]:
    """The class names, made up where there are none.

    Without names, rows are taken to have an objectness (YOLOv5 to YOLOv7) and channels to
    have none (Ultralytics since YOLOv8).

    Raises:
        InputError: the names do not fit the columns.
    """
    if not names:
        scores = columns - BOX - (OBJECTNESS if layout == "rows" else 0)
        if scores < 1:
            raise InputError(f"has {columns} columns for a box", where=where,
                             hint="give the class names with --names")  # fmt: skip
        return tuple(f"class_{i}" for i in range(scores))
    if columns - len(names) not in (BOX, BOX + OBJECTNESS):
        raise InputError(
            f"has {columns} columns for a box, {len(names)} class names need "
            f"{len(names) + BOX} or {len(names) + BOX + OBJECTNESS}",
            where=where,
            hint="give the names of its classes with --names",
        )
    return tuple(names)


def _written(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("B" if n is None else str(n) for n in shape) + "]"
