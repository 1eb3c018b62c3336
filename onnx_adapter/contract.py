"""What a detector promises, from its graph, its metadata and what the user says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import onnx_ir as ir

from detq.detection import Detector, Layout
from detq.graph.files import DETECTOR, detector_from_metadata
from detq.run_dir import file_hash
from onnx_adapter.layout import find_layout, names_for
from onnx_adapter.metadata import family_in, names_in
from onnx_adapter.sizes import Pair


def detector_of(
    model: ir.Model,
    path: Path,
    size: Pair,
    cells: Mapping[int, int],
    layout: Layout | None = None,
    names: Sequence[str] | None = None,
) -> Detector:
    """The contract of a file.

    Args:
        model: normalized, with its metadata.
        path: it was read from.
        size: height and width of the input in pixels.
        cells: pixels per cell → cells, of each level that becomes boxes.
        layout: of the first output, where the user states it.
        names: class names, where the user gives them.

    Raises:
        ModelError: the output is not a box for every cell.
        InputError: the names do not fit, or the metadata is not what detq writes.
    """
    output, metadata = model.graph.outputs[0], model.metadata_props
    where = f"{path} {output.name}"
    own = detector_from_metadata(metadata, str(path)) if DETECTOR in metadata else None
    shape = [n if isinstance(n, int) else None for n in output.shape or ()]
    layout = find_layout(shape, sum(cells.values()), layout or (own.layout if own else None), where)
    columns = shape[2] if layout == "rows" else shape[1]
    said = names or (own.names if own else names_in(metadata))
    found = Detector(
        family=family_in(metadata, path.stem),
        names=names_for(columns or 0, layout, said, where),
        strides=tuple(sorted(cells)),
        size=size,
        source=f"{path.name} sha256:{file_hash(path)}",
        layout=layout,
    )
    if own is None:
        return found
    return msgspec.structs.replace(found, family=own.family, preprocessing=own.preprocessing)
