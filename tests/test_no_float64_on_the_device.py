"""Devices without float64 (Apple's MPS): nothing that runs on one may make a float64 tensor there.

There is no such device here. A tensor that says it is elsewhere holds one of the CPU, and refuses float64 as MPS does.
It says that it is on ``meta``, because torch's own code has no place for a device that it was built without.
"""

from __future__ import annotations

import pytest
import torch
from conftest import TINY
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from decoders.networks.network import TokenSource
from decoders.networks.ridge import Ridge
from ijepa_viz.inspections.components import common_components
from ijepa_viz.inspections.maps import scatter_mean
from ijepa_viz.masks import sample
from ijepa_viz.models import IJEPA

MPS = torch.device("meta")


class OnMPS(torch.Tensor):
    """A CPU tensor that says it is on MPS."""

    @staticmethod
    def __new__(cls, held):
        if held.dtype == torch.float64:
            raise TypeError("MPS has no float64.")
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=MPS, requires_grad=False
        )

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, kinds, args=(), kwargs=None):
        return run(function, args, kwargs or {})


def run(function, args, kwargs):
    """An operation on the held tensors; its results are on MPS if an input was, or if it says so."""
    found = []

    def take(value):
        if isinstance(value, OnMPS):
            found.append(value)
            return value.held
        return value

    wanted = kwargs.get("device")
    args, kwargs = tree_map(take, args), tree_map(take, kwargs)
    there = wanted is not None and torch.device(wanted) == MPS if wanted is not None else bool(found)
    if wanted is not None:
        kwargs["device"] = torch.device("cpu")
    result = function(*args, **kwargs)
    if function.overloadpacket in (torch.ops.aten.copy_, torch.ops.aten._local_scalar_dense):
        return found[0] if found and function.overloadpacket is torch.ops.aten.copy_ else result
    return tree_map(lambda t: OnMPS(t) if there and isinstance(t, torch.Tensor) else t, result)


class WithMPS(TorchDispatchMode):
    """CPU tensors that are moved to MPS become :class:`OnMPS`."""

    def __torch_dispatch__(self, function, kinds, args=(), kwargs=None):
        return run(function, args, kwargs or {})


def test_the_imitation_refuses_float64_as_mps_does():
    with WithMPS():
        there = torch.ones(3).to(MPS)
        assert there.device == MPS
        assert (there + 1).device == MPS
        assert (there + 1).cpu().tolist() == [2, 2, 2]
        with pytest.raises(TypeError, match="no float64"):
            there.double()


def test_scatter_mean_of_values_on_a_device_without_float64():
    values, places = torch.arange(6.0).view(2, 3), torch.tensor([[0, 1, 2], [2, 3, 1]])
    with WithMPS():
        found = scatter_mean(values.to(MPS), places.to(MPS), (2, 3))
    expected = scatter_mean(values, places, (2, 3))
    assert found.tolist()[0] == expected.tolist()[0] == [0, 3, 2.5]


def test_ridge_is_solved_for_tokens_on_a_device_without_float64():
    generator = torch.Generator().manual_seed(0)
    places = torch.stack([torch.randperm(16, generator=generator)[:4] for _ in range(30)])
    tokens, pixels = torch.randn(30, 4, 6, generator=generator), torch.randn(30, 4, 12, generator=generator)

    def solved(device):
        network = Ridge((4, 4), 2, 6).to(device)
        for source in TokenSource:
            network.accumulate(places.to(device), tokens.to(device), source, pixels.to(device))
        network.solve()
        return network.weights.cpu(), network.intercepts.cpu()

    expected = solved("cpu")
    with WithMPS():
        found = solved(MPS)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_components_of_tokens_on_a_device_without_float64():
    tokens = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    with WithMPS():
        found = common_components([tokens.to(MPS)])
    assert torch.equal(found.directions, common_components([tokens]).directions)


def test_a_model_predicts_on_a_device_without_float64():
    torch.manual_seed(0)
    model = IJEPA(TINY).eval()
    images, masks = torch.randn(2, 3, 32, 32), sample(batch=2, grid=(4, 4), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.predict(model.encode_context(images, masks), masks)
        with WithMPS():
            model, there = model.to(MPS), masks.to(MPS)
            found = model.predict(model.encode_context(images.to(MPS), there), there).cpu()
    torch.testing.assert_close(found, expected)
