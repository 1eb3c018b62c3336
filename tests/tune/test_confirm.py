import pytest

pytest.importorskip("torch", reason="networks are run in torch")

import torch

from detq.tune.confirm import MixedRunner, head_noise
from detq.tune.mixed import Choice
from tests.steps import images
from tests.tune.networks import feed, in_both_forms, noise, run_file


def test_noise_of_choices_is_the_plain_formula() -> None:
    model, _, mixed = in_both_forms("residual")
    choices = [Choice(), mixed.everything, mixed.alone("stem.conv")]
    given = images(model, 5)
    done: list[int] = []
    found = head_noise(mixed, choices, [given[:3], given[3:]], done.append)
    assert done == [3, 5]
    feeds = feed(model, mixed, 5)
    wanted = mixed.run(mixed.program(Choice(), mixed.heads), feeds)
    assert found[0] == 0
    for choice, one in zip(choices[1:], found[1:], strict=True):
        other = mixed.run(mixed.program(choice, mixed.heads), feeds)
        assert one == pytest.approx(noise(wanted, other), rel=1e-4)


def test_a_choice_is_an_engine() -> None:
    model, quantized, mixed = in_both_forms("repvgg")
    given = images(model, 2)
    with MixedRunner(mixed, mixed.everything) as runner:
        assert (runner.detector, runner.batch) == (model.detector, None)
        found = runner(given)
    wanted = run_file(quantized.graph.graph, {mixed.feed: torch.from_numpy(given)})
    for name, tensor in wanted.items():
        assert torch.equal(torch.from_numpy(found[name]), tensor)
