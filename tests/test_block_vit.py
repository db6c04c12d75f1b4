"""The convolutions that make patches agree across their borders."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from decoders.networks.block_vit import SeamRefiner

COLUMNS, PATCH, WIDTH = 5, 2, 6
CROSS = [(0, 2), (1, 1), (1, 2), (1, 3), (2, 2)]


@pytest.fixture
def refiner():
    torch.manual_seed(0)
    module = SeamRefiner(COLUMNS, PATCH, WIDTH, channels=4)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module


def inputs(shape, down=0, right=0):
    torch.manual_seed(1)
    estimate, noisy = torch.randn(2, 1, len(shape), 3 * PATCH**2)
    patch_indices = torch.tensor([[(row + down) * COLUMNS + col + right for row, col in shape]])
    return estimate, noisy, patch_indices, torch.randn(1, WIDTH)


def test_it_is_a_convolution_over_the_hole_as_a_picture(refiner):
    """Against the picture painted pixel by pixel, every layer blank outside the hole."""
    estimate, noisy, patch_indices, vector = inputs(CROSS, down=1, right=1)
    picture = torch.zeros(1, 7, 3 * PATCH, 3 * PATCH)
    for t, (row, col) in enumerate(CROSS):
        for y in range(PATCH):
            for x in range(PATCH):
                spot = picture[0, :, row * PATCH + y, (col - 1) * PATCH + x]
                for channel in range(3):
                    at = channel * PATCH**2 + y * PATCH + x
                    spot[channel], spot[3 + channel] = estimate[0, t, at], noisy[0, t, at]
                spot[6] = 1
    scale, shift = (refiner.modulate.weight @ vector[0] + refiner.modulate.bias).view(2, 4, 1, 1)
    h = F.silu(F.conv2d(picture, refiner.first.weight, refiner.first.bias, padding=1) * (1 + scale) + shift)
    h = h * picture[:, 6:]
    h = F.silu(F.conv2d(h, refiner.second.weight, refiner.second.bias, padding=1)) * picture[:, 6:]
    drawn = F.conv2d(h, refiner.last.weight, refiner.last.bias, padding=1)
    found = refiner(estimate, noisy, patch_indices, vector)
    for t, (row, col) in enumerate(CROSS):
        patch = drawn[0, :, row * PATCH : (row + 1) * PATCH, (col - 1) * PATCH : col * PATCH]
        torch.testing.assert_close(found[0, t].view(3, PATCH, PATCH), patch, atol=1e-5, rtol=1e-5)


def test_a_hole_is_smoothed_alike_wherever_it_lies(refiner):
    here, there = inputs(CROSS), inputs(CROSS, down=2, right=1)
    torch.testing.assert_close(refiner(*here), refiner(*there))


def test_a_patch_hears_of_its_neighbour_and_of_no_other_hole(refiner):
    estimate, noisy, patch_indices, vector = (torch.cat([part, part]) for part in inputs([(0, 0), (0, 1), (0, 2)]))
    before = refiner(estimate, noisy, patch_indices, vector)
    changed = estimate.clone()
    changed[0, 1] += 1
    after = refiner(changed, noisy, patch_indices, vector)
    assert (after - before)[0, 0].abs().max() > 1e-3
    assert torch.equal(after[1], before[1])


def test_a_hole_does_not_depend_on_the_shapes_beside_it(refiner):
    """The batch's box is the largest: what lies beyond a smaller hole must not reach it."""
    line, cross = inputs([(0, c) for c in range(5)]), inputs(CROSS)
    both = refiner(*(torch.cat(pair) for pair in zip(line, cross, strict=True)))
    torch.testing.assert_close(both[:1], refiner(*line))
    torch.testing.assert_close(both[1:], refiner(*cross))


def test_it_begins_by_changing_nothing():
    module = SeamRefiner(COLUMNS, PATCH, WIDTH, channels=4)
    assert not module(*inputs(CROSS)).any()
