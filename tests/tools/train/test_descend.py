from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the trainer runs in torch")

from detq_eval.demo_set.shapes import NAMES  # noqa: E402
from tools.train.descend import Progress, Schedule, learn, prepare  # noqa: E402
from tools.train.network import Layout, Model  # noqa: E402
from tools.train.run import save  # noqa: E402
from tools.train.samples import Drawn, batches  # noqa: E402

LAYOUT = Layout(width=8, backbone=(1, 1, 1, 1), neck=1)
SIZE = 128


def trained(steps: int) -> tuple[Model, list[Progress]]:
    """A network that has seen the same four pictures again and again."""
    torch.manual_seed(0)
    model, seen = Model(LAYOUT, NAMES), []
    prepare(model)
    same = list(batches(Drawn(7, SIZE), 4, 4)) * steps
    schedule = Schedule(steps, rate=5e-3, warmup=5)
    learn(model, iter(same), schedule, lambda at, _: seen.append(at), every=steps // 4)
    return model, seen


def test_it_learns_a_few_pictures_by_heart() -> None:
    _, seen = trained(40)
    assert [at.step for at in seen] == [10, 20, 30, 40]
    assert seen[-1].box_loss < 0.6 * seen[0].box_loss
    assert seen[-1].class_loss < 0.8 * seen[0].class_loss


def test_the_same_seed_gives_the_same_weights() -> None:
    (one, _), (two, _) = trained(4), trained(4)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


def test_the_rate_rises_and_falls() -> None:
    schedule = Schedule(1000, warmup=100)
    factors = [schedule.factor(step) for step in range(1000)]
    assert factors[0] == pytest.approx(0.01, abs=1e-9)
    assert max(factors) == factors[99] == pytest.approx(1, abs=1e-9)
    assert factors[-1] == pytest.approx(0.02, abs=1e-4)
    assert factors[99:] == sorted(factors[99:], reverse=True)


def test_what_it_saves_is_read_back_with_the_same_boxes(tmp_path: Path) -> None:
    from detq.dialects import write_float
    from detq.graph.files import save_model
    from detq.graph.torch_runner import TorchRunner
    from yolov6_adapter import read_checkpoint, source_from_checkpoint

    torch.manual_seed(1)
    model = Model(LAYOUT, NAMES)
    prepare(model)
    save(model.eval(), tmp_path / "ckpt.pt", 3)
    found = read_checkpoint(tmp_path / "ckpt.pt")
    assert (found.names, found.epoch) == (NAMES, 3)
    written = write_float(source_from_checkpoint(found, (SIZE, SIZE)))
    save_model(written, tmp_path / "float.onnx")
    images = torch.rand(1, 3, SIZE, SIZE)
    with torch.no_grad():
        logits, boxes = model(images)
    with TorchRunner(tmp_path / "float.onnx") as runner:
        rows = runner(images.numpy())["outputs"]
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    np.testing.assert_allclose(rows[..., :2], middle.numpy(), atol=1e-2, rtol=0)
    np.testing.assert_allclose(rows[..., 5:], logits.sigmoid().numpy(), atol=1e-4, rtol=0)
