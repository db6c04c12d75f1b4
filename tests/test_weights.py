"""Predictions remember whose they are, and a decoder of another model refuses them; hashing happens once."""

from __future__ import annotations

import copy
import gc
import pickle

import pytest
import torch
from conftest import TINY, random_decoder

from decoders import Decoder, DecoderConfig
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import check_pair, predict
from ijepa_viz.runtime import weights
from ijepa_viz.runtime.tensors import fingerprint
from ijepa_viz.runtime.weights import Weights

IMAGE = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def masks(model):
    return Masks.from_block(model.grid, 1, 1, 2, 2)


@pytest.fixture
def hashed(monkeypatch):
    """The models that were hashed, in order."""
    found = []
    monkeypatch.setattr(weights, "fingerprint", lambda model: found.append(model) or fingerprint(model))
    return found


def another():
    torch.manual_seed(7)
    return IJEPA(TINY).eval()  # the same grid and width


def test_a_decoder_refuses_the_prediction_of_another_model(model, decoder, masks):
    assert decoder.sample(predict(model, IMAGE, masks), samples=1, steps=1).images.shape == (1, 3, 32, 32)
    other = another()
    foreign = predict(other, IMAGE, masks)
    with pytest.raises(ValueError, match=r"trained on other weights \('a test model'\).*python -m decoders"):
        decoder.sample(foreign, samples=1, steps=1)
    with pytest.raises(ValueError, match="trained on other weights"):
        decoder.sample(predict(other, IMAGE[None], masks)[0], samples=1, steps=1)
    with pytest.raises(ValueError, match="trained on other weights"):
        decoder.sample(foreign, samples=1, steps=1, source="target")


def test_where_the_model_or_the_decoder_is_unknown_nothing_is_refused(model, decoder, masks):
    other = another()
    foreign = predict(other, IMAGE, masks)
    decoder.sample(foreign.replaced(foreign.predicted), samples=1, steps=1)
    Decoder(decoder.network, DecoderConfig()).sample(foreign, samples=1, steps=1)
    unknown = predict(other, IMAGE, masks)
    with torch.no_grad():
        other.encoder.norm.weight += 1  # what it was when it predicted cannot be known any more
    decoder.sample(unknown, samples=1, steps=1)
    gone = predict(other, IMAGE, masks)
    del other
    gc.collect()
    decoder.sample(gone, samples=1, steps=1)


def test_what_was_found_before_the_model_went_or_changed_still_holds(model, decoder, masks):
    other = another()
    prediction = predict(other, IMAGE, masks)
    expected = fingerprint(other)
    assert prediction.weights.sha256() == expected
    travelled = pickle.loads(pickle.dumps(prediction))
    copied = copy.deepcopy(prediction)
    with torch.no_grad():
        other.encoder.norm.weight += 1
    assert Weights(other).sha256() == fingerprint(other) != expected
    del other
    gc.collect()
    for one in (prediction, travelled, copied):
        assert one.weights.sha256() == expected
        with pytest.raises(ValueError, match="trained on other weights"):
            decoder.sample(one, samples=1, steps=1)
    assert pickle.loads(pickle.dumps(predict(model, IMAGE, masks))).weights.sha256() is None


def test_a_model_is_hashed_once_and_only_for_a_decoder_that_asks(model, masks, hashed):
    decoder = random_decoder(model)
    predictions = [predict(model, IMAGE, masks) for _ in range(3)]
    assert hashed == []
    for prediction in predictions:
        decoder.sample(prediction, samples=1, steps=1)
    check_pair(model, decoder)
    assert hashed == [model]


def _fused_step(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


CHANGES = {
    "a fused optimizer, which counts no version": _fused_step,
    "values behind autograd's back": lambda model: [p.data.mul_(1.5) for p in model.parameters()],
    "one value in place": lambda model: model.encoder.norm.bias.detach()[3].add_(1),
    "other weights loaded": lambda model: model.load_state_dict(another().state_dict()),
    "another parameter": lambda model: setattr(
        model.encoder.norm, "bias", torch.nn.Parameter(torch.ones_like(model.encoder.norm.bias))
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_hashed_anew(model, masks, change):
    before = predict(model, IMAGE, masks).weights
    assert before.sha256() == fingerprint(model)
    CHANGES[change](model)
    after = Weights(model).sha256()
    assert after == fingerprint(model)
    assert after != before.sha256()


def test_weights_of_inference_mode_and_compiled_ones_are_known_too(model):
    assert Weights(torch.compile(model)).sha256() == fingerprint(model)
    with torch.inference_mode():
        odd = IJEPA(TINY)
    assert Weights(odd).sha256() == fingerprint(odd)


@pytest.mark.parametrize("given", ["menagerie-tiny", None])
def test_the_name_of_a_model_is_no_model(masks, given):
    with pytest.raises(TypeError, match=r"predict takes a model, got \w+: load it, .*load_model\(('menagerie-tiny'|N)"):
        predict(given, IMAGE, masks)
