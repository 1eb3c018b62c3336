from pathlib import Path
from typing import Any

import pytest

from detq.errors import InputError, TargetError
from detq.graph.files import save_model
from detq_deploy.trt.log import last_error, new_log, texts_of
from detq_deploy.trt.parse import bindings_of, create_network, parse
from detq_deploy.trt.request import Binding, Refusal
from tests.detq_deploy.lint.sketch import Sketch
from tests.detq_deploy.trt.contract.double import Double


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    s = Sketch()
    save_model(s.done(s.layer(s.pair(s.images), "first")), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def generation(double: Double) -> int:
    return 11 if not double.version.package else int(double.version.version.partition(".")[0])


def test_a_network_has_the_flags_of_its_version(double: Double) -> None:
    builder = double.make("Builder")
    kinds = double.module.NetworkDefinitionCreationFlag
    major = generation(double)
    if major >= 10:
        create_network(builder, "strong")
        assert double.values("Builder.create_network") == [1 << int(kinds.STRONGLY_TYPED)]
    else:
        with pytest.raises(TargetError, match=r"8.6.1 has no strongly typed networks"):
            create_network(builder, "strong")
    double.calls.clear()
    if major >= 11:
        with pytest.raises(TargetError, match="strongly typed networks only"):
            create_network(builder, "weak")
    else:
        create_network(builder, "weak")
        batch = 1 << int(kinds.EXPLICIT_BATCH) if major < 10 else 0
        assert double.values("Builder.create_network") == [batch]


def test_a_file_is_parsed(double: Double, onnx: Path) -> None:
    assert parse(double.make("INetworkDefinition"), onnx, new_log()) == ()
    assert double.values("OnnxParser.parse_from_file") == [str(onnx)]
    plugins = [call.name for call in double.calls].index("init_libnvinfer_plugins")
    assert plugins < [call.name for call in double.calls].index("OnnxParser")


def refuse(double: Double, node: int) -> None:
    double.answers |= {
        "OnnxParser.parse_from_file": False,
        "OnnxParser.num_errors": 1,
        "OnnxParser.get_error": lambda parser, index: double.make("ParserError"),
        "ParserError.node": node,
        "ParserError.node_name": "first",
        "ParserError.node_operator": "Conv",
        "ParserError.desc": "no",
    }


def test_a_refusal_names_the_node(double: Double, onnx: Path) -> None:
    nodes = ["x.q", "x.dq", "first.weight.dq", "first", "pred"]
    refuse(double, nodes.index("first"))
    network = double.make("INetworkDefinition")
    assert parse(network, onnx, new_log()) == (Refusal(node="first", operator="Conv", text="no"),)


def test_a_refusal_without_a_reason_is_told(double: Double, onnx: Path) -> None:
    double.answers |= {"OnnxParser.parse_from_file": False, "OnnxParser.num_errors": 0}
    with pytest.raises(InputError, match="refused by NVIDIA's parser without a reason"):
        parse(double.make("INetworkDefinition"), onnx, new_log())


def test_inputs_and_outputs_are_read(double: Double) -> None:
    kinds = double.module.DataType

    def tensor(name: str) -> Any:
        found = double.make("ITensor")
        found.name = name
        return found

    double.answers |= {
        "INetworkDefinition.num_inputs": 1,
        "INetworkDefinition.num_outputs": 2,
        "INetworkDefinition.get_input": lambda network, i: tensor("images"),
        "INetworkDefinition.get_output": lambda network, i: tensor(f"out{i}"),
        "ITensor.shape": (-1, 3, 64, 64),
        "ITensor.dtype": kinds.HALF,
    }
    inputs, outputs = bindings_of(double.make("INetworkDefinition"))
    assert inputs == (Binding(name="images", dtype="HALF", shape=(-1, 3, 64, 64)),)
    assert [output.name for output in outputs] == ["out0", "out1"]


def test_the_log_keeps_what_was_said(double: Double) -> None:
    severity = double.module.ILogger.Severity
    log = new_log()
    assert (last_error(log), texts_of(log, "WARNING", since="x")) == ("", [])
    for kind, text in (
        ("WARNING", "slow"), ("WARNING", "slow"), ("ERROR", "first"), ("VERBOSE", "Layers:"),
        ("VERBOSE", "old"), ("VERBOSE", "Layers:"), ("VERBOSE", "a"), ("VERBOSE", "a"),
        ("INTERNAL_ERROR", "out of\n memory"),
    ):  # fmt: skip
        log.log(severity.__members__[kind], text)
    assert texts_of(log, "WARNING") == ["slow"]
    assert texts_of(log, "VERBOSE", since="Layers:") == ["Layers:", "a", "a"]
    assert last_error(log) == "out of memory"
