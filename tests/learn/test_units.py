from detq.graph.build import DECODE, STAGE
from detq.learn.int8_layers import int8_layers, with_own_biases
from detq.learn.units import Unit, block_units, head_values, layer_units, stage_units
from detq.model import FloatModel
from tests.block_writer import Writer
from tests.steps import merged, quantized
from tests.zoo import SIZE, network, tiny_detector


def blocks_of(name: str) -> tuple[FloatModel, tuple[Unit, ...]]:
    model = merged(name)
    return model, block_units(model, int8_layers(quantized(model)))


def test_layers_one_by_one() -> None:
    model = merged("repvgg")
    layers = int8_layers(quantized(model))
    units = layer_units(model, layers)
    assert {unit.stage for unit in units} == {"backbone"}
    assert [unit.outputs for unit in units] == [(layer.output,) for layer in layers]
    assert all(not unit.ends for unit in units)


def test_blocks_end_behind_their_activation_and_reach_the_end_of_their_stage() -> None:
    _, units = blocks_of("repvgg")
    assert [(unit.name, unit.stage) for unit in units] == [
        ("stem", "backbone"),
        ("block", "backbone"),
    ]
    assert [unit.outputs for unit in units] == [("stem.relu",), ("block.relu",)]
    assert [unit.ends for unit in units] == [("block.relu",)] * 2
    assert [unit.depth for unit in units] == [0.5, 1.0]


def test_a_block_has_only_the_ends_that_depend_on_it() -> None:
    _, units = blocks_of("tiny_detector")
    by_name = {unit.name: unit for unit in units}
    first, last = by_name["detect.cls_convs.0"], by_name["detect.stems.2"]
    assert first.ends == ("detect.cls_preds.0",)
    assert set(last.ends) == {"detect.cls_preds.2", "detect.reg_preds.2"}
    depths = [unit.depth for unit in units if unit.stage == "head"]
    assert depths == sorted(depths)
    assert depths[-1] == 1.0


def test_every_int8_layer_is_in_one_block() -> None:
    model = merged("lite")
    graph = model.graph.graph
    layers = int8_layers(quantized(model))
    held = [node.name for block in model.blocks for node in block.nodes]
    stray = [layer for layer in layers if layer.name not in held]
    names = [unit.name for unit in block_units(model, layers)]
    assert len(names) == len(set(names))
    assert {layer.name for layer in stray} <= set(names)
    position = {value.name: i for i, node in enumerate(graph) for value in node.outputs}
    ends = [position[unit.outputs[-1]] for unit in block_units(model, layers)]
    assert ends == sorted(ends)


def test_layers_outside_of_blocks_and_stages_are_units_too() -> None:
    w = Writer("bare", 0)
    x = w.input("images", ["batch", 3, *SIZE])
    for number in range(3):
        x = w.relu(w.plain_conv(x, 4, 3, name=f"conv{number}"))
    model = FloatModel(w.finish({"outputs": x}), network(lambda w, x: x).detector)
    units = block_units(model, int8_layers(quantized(model)))
    assert [unit.outputs for unit in units] == [("conv0",), ("conv1",)]
    assert all(unit.ends == () for unit in units)
    assert stage_units(units) == units


def test_a_stage_holds_the_outputs_of_its_blocks() -> None:
    _, units = blocks_of("tiny_detector")
    stages = stage_units(units)
    assert [unit.name for unit in stages] == ["backbone", "neck", "head"]
    assert [x for unit in stages for x in unit.outputs] == [x for u in units for x in u.outputs]
    assert len(stages[2].ends) == 6


def test_head_values_lie_in_front_of_decoding() -> None:
    graph = tiny_detector().graph.graph
    heads = head_values(graph)
    assert sorted(heads) == sorted(
        f"detect.{kind}_preds.{level}" for kind in ("cls", "reg") for level in range(3)
    )
    assert all(node.metadata_props[STAGE] != DECODE for node in graph if node.name in heads)
    assert head_values(merged("repvgg").graph.graph) == ("outputs",)


def test_every_layer_gets_a_bias_that_is_its_own() -> None:
    w = Writer("shared", 0)
    x = w.input("images", ["batch", 3, *SIZE])
    weight, bias = w.weight(3, 3, 3, 3), w.constant("bias", w.vector(3, 1, 2))
    for number in range(3):
        given = [bias] if number else []
        x = w.op(
            "Conv", x, w.constant(f"w{number}", weight), *given,
            name=f"conv{number}", shape=["batch", 3, *SIZE], pads=[1] * 4,
        )  # fmt: skip
    x = w.plain_conv(x, 2, 1, name="pred")
    model = FloatModel(w.finish({"outputs": x}), network(lambda w, x: x).detector)
    start = quantized(model)
    found = with_own_biases(start)
    biases = [layer.parts[0].bias for layer in int8_layers(found)]
    assert len(set(biases)) == 3
    arrays = {k: v.const_value.numpy() for k, v in found.graph.graph.initializers.items()
              if v.const_value is not None}  # fmt: skip
    assert not arrays[str(biases[0])].any()
    assert arrays[str(biases[1])].tolist() == arrays[str(biases[2])].tolist()
    assert [len(n.inputs) for n in start.graph.graph if n.name == "conv0"] == [2]
