import numpy as np

from detq.graph.build import Builder
from detq.graph.stored import array_of, drop_unused, store


def test_a_number_gets_a_name_of_its_own() -> None:
    b = Builder("one")
    x = b.input("images", [2])
    model = b.finish({"outputs": b.elementwise("Add", x, b.constant("one", np.float32([1, 1])))})
    graph = model.graph
    added = store(graph, "one", np.arange(3))
    assert (added.name, added.shape) == ("one_", [3])
    assert graph.initializers["one_"] is added
    np.testing.assert_array_equal(array_of(added), np.arange(3))


def test_what_is_computed_or_left_out_has_no_numbers() -> None:
    b = Builder("one")
    x = b.input("images", [2])
    assert array_of(x) is None
    assert array_of(None) is None


def test_only_what_nothing_reads_goes() -> None:
    b = Builder("one")
    x = b.input("images", [2])
    model = b.finish({"outputs": b.elementwise("Add", x, b.constant("one", np.float32([1, 1])))})
    store(model.graph, "idle", np.zeros(2))
    output = store(model.graph, "told", np.zeros(2, np.float32))
    model.graph.outputs.append(output)
    drop_unused(model.graph)
    assert set(model.graph.initializers) == {"one", "told"}
