import numpy as np
import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch", reason="runs the graph")

from detq.graph.execute import compile_slice, execute, parameters  # noqa: E402
from detq.numerics import round_to_grid  # noqa: E402
from detq.repquant import code_softmax  # noqa: E402
from tests.engines import in_onnxruntime  # noqa: E402
from tests.repquant.vit import vit  # noqa: E402
from tests.steps import images  # noqa: E402


def run(graph, names, feeds):
    program = compile_slice(graph, list(feeds), names)
    given = {name: torch.from_numpy(array) for name, array in feeds.items()}
    return {k: v.numpy() for k, v in execute(program, given, parameters(program)).items()}


def coded(bits, form, **options):
    model = vit(**options).graph.clone()
    assert code_softmax(model, bits, form) == ("attention",)
    return model


def slowly(a, bits):
    """Float64, one number at a time."""
    q = np.where(
        a > 0, round_to_grid(-2 * np.log2(np.where(a > 0, a, 1)), np.float64(1)), np.inf
    ).clip(0, 2**bits - 1)
    return 2.0 ** (-q / 2)


@pytest.mark.parametrize("form", ["log_sqrt2", "log2"])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_numbers_are_powers_of_the_root_of_two(bits, form):
    attention = np.random.default_rng(0).dirichlet(np.full(16, 0.1), (1, 2, 16)).astype(np.float32)
    attention[0, 0, 0, :4] = [1.0, 0.0, 2.0**-0.5, 0.5]
    found = run(coded(bits, form).graph, ["attention.rounded"], {"attention": attention})
    got, wanted = found["attention.rounded"], slowly(attention.astype(np.float64), bits)
    off = np.abs(got - wanted) > 1e-5 * wanted
    # A number beside a tie may fall to the other side of it in float32.
    near_tie = np.abs(np.abs(-2 * np.log2(np.maximum(attention, 1e-30)) % 1) - 0.5) < 1e-4
    assert not (off & ~near_tie).any()
    assert len(np.unique(got)) <= 2**bits


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_both_forms_give_the_same_numbers(bits):
    feeds = {"images": images(vit(), 4)}
    one, two = (
        run(coded(bits, form).graph, ["attention.rounded", "outputs"], feeds)
        for form in ("log_sqrt2", "log2")
    )
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=0, atol=1e-5 * np.abs(array).max())


def test_onnxruntime_computes_the_same():
    model, feeds = coded(4, "log2", gemm=True), {"images": images(vit(), 2)}
    wanted = in_onnxruntime(model, feeds)["outputs"]
    got = run(model.graph, ["outputs"], feeds)["outputs"]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_logarithmic_codes_keep_more_of_an_attention_than_an_even_grid():
    attention = np.random.default_rng(1).dirichlet(np.full(64, 0.2), (1, 2, 64)).astype(np.float32)
    found = slowly(attention.astype(np.float64), 6)
    even = round_to_grid(attention, np.float32(1 / 63)) / 63
    small = attention < 1 / 126
    relative = [np.abs(x - attention)[small].sum() for x in (found, even)]
    assert relative[0] < 0.5 * relative[1]


def test_the_softmax_of_a_distribution_of_distances_is_left_alone():
    model = vit().graph.clone()
    for node in model.graph:
        if node.op_type == "Softmax":
            node.metadata_props["detq.stage"] = "decode"
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert code_softmax(model, 4) == ()
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
