"""The postcondition of what rewrites a whole graph: the same function, in float64."""

from detq.errors import NotEquivalentError
from detq.model import FloatModel


def check_equivalent(
    before: FloatModel, after: FloatModel, *, what: str, field: str, tolerance: float
) -> None:
    """Run both networks in float64 on one random image.

    Args:
        before: the network.
        after: what became of it.
        what: was done, for the error.
        field: of the recipe that asks for it.
        tolerance: largest difference, of the largest output.

    Raises:
        NotEquivalentError: an output differs.
    """
    import torch

    from detq.graph.execute import compile_slice, execute, parameters

    image = torch.rand(
        before.batch or 1, 3, *before.detector.size, dtype=torch.float64,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    found = []
    for model in (before, after):
        graph = model.graph.graph
        name = str(graph.inputs[0].name)
        program = compile_slice(graph, [name])
        with torch.inference_mode():
            found.append(execute(program, {name: image}, parameters(program, dtype=torch.float64)))
    for name, wanted in found[0].items():
        difference = float((wanted - found[1][name]).abs().max())
        largest = float(wanted.abs().max())
        if not difference <= tolerance * largest:
            raise NotEquivalentError(
                f"{what} changed the output by {difference:.3g} at a largest value of "
                f"{largest:.3g}",
                where=name,
                hint=f"leave {field} out of the recipe and report the model",
            )
