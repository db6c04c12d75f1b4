from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Attention

from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.models.attention import attend, choose_kernels, fused_pays, plain

CPU = torch.device("cpu")


def kernels(net, dtype):
    choose_kernels(net, CPU, dtype)
    return {layer.fused_attn for layer in net.modules() if isinstance(layer, Attention)}


def test_kernels_agree_with_torchs_own():
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, 2, 4, 9, 8, dtype=torch.float64)
    expected = F.scaled_dot_product_attention(queries, keys, values)
    torch.testing.assert_close(plain(queries, keys, values), expected)
    torch.testing.assert_close(attend(queries, keys, values), expected)


def test_only_bfloat16_on_a_cpu_is_plain():
    assert not fused_pays(CPU, torch.bfloat16)
    assert fused_pays(CPU, torch.float32)
    assert fused_pays(torch.device("cuda"), torch.bfloat16)
    net = IJEPA(ModelConfig(16, 8, 16, 2, 2, 4.0, 16, 2, 2))
    assert kernels(net, torch.bfloat16) == {False}
    assert kernels(net, torch.float32) == {True}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_padding_is_never_attended_to(fused, autocast):
    """Padded context gives what the same context gives alone, by either kernel and in either precision."""
    torch.manual_seed(0)
    net = IJEPA(ModelConfig(32, 8, 32, 2, 2, 4.0, 16, 2, 2)).eval()
    for parameter in net.parameters():
        if parameter.ndim > 1 and parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    choose_kernels(net, CPU, torch.float32 if fused else torch.bfloat16)
    images = torch.randn(1, 3, 32, 32)
    targets = torch.tensor([[[10, 11]]])
    alone = Masks(torch.tensor([[0, 1, 5]]), targets, (4, 4))
    valid = torch.tensor([[True, True, True, False, False]])
    padded = Masks(torch.tensor([[0, 1, 5, 15, 15]]), targets, (4, 4), valid)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected = net.predict(net.encode_context(images, alone), alone).float()
        found = net.predict(net.encode_context(images, padded), padded).float()
        counted = net.predict(net.encode_context(images, padded), Masks(padded.context, targets, (4, 4))).float()
    tolerance = 0.05 if autocast else 1e-5
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    assert (counted - expected).abs().max() > 2 * tolerance
