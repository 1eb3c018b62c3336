import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="runs the graph")

from detq.errors import NotEquivalentError  # noqa: E402
from detq.graph.execute import compile_slice, execute, parameters  # noqa: E402
from detq.observe import collect  # noqa: E402
from detq.repquant import layer_norm as module  # noqa: E402
from detq.repquant import linear_inputs, reparameterize_layer_norms  # noqa: E402
from tests.repquant.vit import WIDTH, vit  # noqa: E402
from tests.steps import images  # noqa: E402

NORMS = ("norm1", "norm2")


def run(model, names, seed=3):
    program = compile_slice(model.graph.graph, ["images"], names)
    feed = torch.from_numpy(images(model, 2, seed=seed))
    return execute(program, {"images": feed}, parameters(program))


def observed(model):
    return collect(model, linear_inputs(model), [images(model, 8)])


def spread(stats):
    top = np.maximum(-stats.channel_minimum, stats.channel_maximum)
    return float(top.max() / np.median(top))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_function_is_kept_and_the_argument_left_alone(seed):
    model = vit(seed)
    before = [node.name for node in model.graph.graph]
    found = reparameterize_layer_norms(model, observed(model))
    assert [node.name for node in model.graph.graph] == before
    assert found.norms == NORMS  # the head is a prediction: what it reads stays float
    wanted, got = run(model, ["outputs"])["outputs"], run(found.model, ["outputs"])["outputs"]
    assert (got - wanted).abs().max() <= 2e-5 * wanted.abs().max()


def test_every_channel_reaches_one_symmetric_range():
    model = vit()
    before = observed(model)
    after = observed(reparameterize_layer_norms(model, before).model)
    for name in NORMS:
        assert len(before[name].channel_maximum) == WIDTH
        assert spread(before[name]) > 10
        high, low = after[name].channel_maximum, after[name].channel_minimum
        np.testing.assert_allclose(high, high.mean(), rtol=1e-3)
        np.testing.assert_allclose(low, -high, rtol=1e-3)


def test_a_linear_layer_without_a_bias_gets_one():
    model = vit()
    found = reparameterize_layer_norms(model, observed(model)).model
    added = [node.name for node in found.graph.graph if str(node.name).endswith(".shifted")]
    assert added == ["key.shifted"]


def test_gemm_with_transposed_weights():
    model = vit(gemm=True)
    stats = observed(model)
    assert reparameterize_layer_norms(model, stats).norms == ("norm1",)  # a reshape reads norm2


def test_gemm_behind_a_norm():
    from detq.detection import Detector
    from detq.model import FloatModel
    from tests.block_writer import Writer

    w = Writer("gemm", 0)
    x = w.input("images", ["batch", 3, 8, 8])
    x = w.reshape(x, (192,))
    x = w.elementwise("LayerNormalization", x, w.constant("gain", w.vector(192, 0.1, 9)), axis=-1)
    weight, bias = (
        w.constant("weight", w.weight(8, 192)),
        w.constant("bias", w.vector(8, 0, 1)),
    )
    x = w.op("Gemm", x, weight, bias, name="inner", shape=("batch", 8), transB=1)
    x = w.op("Gemm", x, w.constant("last", w.weight(8, 4)), name="last", shape=("batch", 4))
    detector = Detector(family="gemm", names=("a",), strides=(8,), size=(8, 8))
    model = FloatModel(w.finish({"outputs": x}), detector)
    found = reparameterize_layer_norms(model, observed(model))
    assert len(found.norms) == 1
    wanted, got = run(model, ["outputs"])["outputs"], run(found.model, ["outputs"])["outputs"]
    assert (got - wanted).abs().max() <= 2e-5 * wanted.abs().max()


def test_dead_and_constant_channels_are_kept_finite():
    centre, ratio = module._centre_and_ratio(np.array([0.0, 2, -1]), np.array([0.0, 2, 3]))
    assert ratio.tolist() == [1, 1, 1]
    assert centre.tolist() == [0, 2, 1]
    _, dead = module._centre_and_ratio(np.zeros(2), np.zeros(2))
    assert dead.tolist() == [1, 1]


def test_wrong_shift_is_noticed(monkeypatch):
    kept = module._add_bias
    monkeypatch.setattr(module, "_add_bias", lambda graph, node, more: kept(graph, node, 2 * more))
    model = vit()
    with pytest.raises(NotEquivalentError, match="giving LayerNorms one scale changed the output"):
        reparameterize_layer_norms(model, observed(model))
