import pytest

torch = pytest.importorskip("torch", reason="the trainer runs in torch")

from tools.train.samples import Drawn, batches  # noqa: E402


def test_batches_hold_the_samples_in_their_order() -> None:
    sample = Drawn(5, 96)
    (images, truth), *rest = batches(sample, 5, 2)
    assert images.shape == (2, 3, 96, 96)
    assert images.dtype == torch.float32
    assert len(rest) == 1  # the fifth is left out
    for number in range(2):
        wanted = torch.from_numpy(sample(number).image).permute(2, 0, 1) / 255
        torch.testing.assert_close(images[number], wanted, atol=1e-6, rtol=0)
        assert torch.equal(truth[number][0], torch.from_numpy(sample(number).boxes))


def test_parts_share_the_samples() -> None:
    sample = Drawn(5, 96)
    whole = torch.cat([images for images, _ in batches(sample, 4, 2)])
    parts = [next(batches(sample, 2, 2, part=(n, 2)))[0] for n in range(2)]
    assert torch.equal(parts[0], whole[[0, 2]])
    assert torch.equal(parts[1], whole[[1, 3]])
