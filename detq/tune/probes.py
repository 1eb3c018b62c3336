"""What lets one run of a network tell gradients of all its values, and the weights of a head."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

_SILENT = 1e-30  # power of a signal that is not there


class Seen:
    """A tap: keeps values, and adds zeros where gradients are wanted.

    Args:
        kept: names of the values to keep.
        probed: names of those that a gradient is wanted of.
    """

    def __init__(self, kept: Collection[str], probed: Collection[str]) -> None:
        self._kept, self._probed = kept, probed
        self.values: dict[str, Tensor] = {}
        self._probes: dict[str, Tensor] = {}

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        """Look at one value when it is made."""
        if name in self._kept:
            self.values[name] = tensor.detach()
        if name not in self._probed:
            return tensor
        probe = torch.zeros_like(tensor, requires_grad=True)
        self._probes[name] = probe
        return tensor + probe

    def gradients(
        self, heads: Mapping[str, Tensor], weights: Mapping[str, Tensor], *, again: bool = False
    ) -> dict[str, Tensor]:
        """Jᵀ of weights on the heads, for every probed value; zeros where none is reached."""
        sums = [(head * weights[name].clone()).sum() for name, head in heads.items()]
        total = torch.stack(sums).sum()
        names, probes = zip(*self._probes.items(), strict=True)
        found = torch.autograd.grad(
            [total], probes, retain_graph=again, allow_unused=True, materialize_grads=True
        )
        return dict(zip(names, found, strict=True))


def head_weight(head: Tensor, heads: int) -> Tensor:
    """One over the power of each image's signal, [B, 1, …]; all heads count alike."""
    power = head.detach().square().flatten(1).sum(1).clamp_min(_SILENT)
    return (1 / (heads * power)).reshape(-1, *[1] * (head.dim() - 1))


def random_signs(like: Tensor, random: torch.Generator) -> Tensor:
    """1 or -1 for every element."""
    return torch.randint(0, 2, like.shape, generator=random).to(like.dtype) * 2 - 1


def per_image(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product of each image's elements, float64 [B]."""
    return (a * b).flatten(1).sum(1).double()
