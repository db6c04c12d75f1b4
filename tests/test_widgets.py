from __future__ import annotations

import asyncio
import base64
import importlib
import io
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY, random_decoder
from PIL import Image
from traitlets import TraitError

import ijepa_viz.widgets
from decoders.decoder import Decoder
from ijepa_viz import examples
from ijepa_viz import masks as mask_samplers
from ijepa_viz.data.transforms import to_pil, to_tensor
from ijepa_viz.examples import PHOTOGRAPHS, SCENES
from ijepa_viz.figures.token_samples import token_colours
from ijepa_viz.masks import Masks
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import predict
from ijepa_viz.widgets import (
    ArchitectureDiagram,
    MaskPainter,
    MaskSampler,
    PredictionExplorer,
    RunMonitor,
)
from ijepa_viz.widgets.explorer_pictures import fits, kind_of
from ijepa_viz.widgets.picture_widget import data_uri

WIDGETS = [ArchitectureDiagram, MaskPainter, MaskSampler, PredictionExplorer, RunMonitor]


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def paint(widget, text):
    """What the page does at the end of a stroke."""
    widget.mask = text
    widget.seq += 1


def test_the_mask_goes_both_ways(picture):
    painter = MaskPainter(picture, (4, 5))
    assert not painter.hidden.any()
    paint(painter, "0" * 7 + "1" + "0" * 12)
    assert np.argwhere(painter.hidden).tolist() == [[1, 2]]
    assert painter.masks == Masks.from_block((4, 5), 1, 2, 1, 1)
    seq = painter.seq
    hidden = np.eye(4, 5, dtype=bool)
    painter.hidden = hidden
    assert painter.mask == "10000" + "01000" + "00100" + "00010"
    assert painter.seq == seq + 1
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        painter.hidden = np.zeros((5, 4), bool)
    with pytest.raises(ValueError, match="empty"):
        _ = MaskPainter(picture, (4, 5)).masks


def apart(run):
    """In a thread of its own: the browser tests leave an event loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


def test_of_strokes_that_come_quickly_the_last_is_answered(picture):
    painter = MaskPainter(picture, (2, 2))
    answered = []
    painter.on_hole(lambda masks: answered.append(masks.hidden[0].int().flatten().tolist()))

    async def strokes():
        for text in ("1000", "1100", "0001"):
            paint(painter, text)
        await asyncio.sleep(0.2)
        paint(painter, "0110")
        paint(painter, "0000")  # nothing is hidden any more: there is nothing to answer
        await asyncio.sleep(0.2)

    apart(lambda: asyncio.run(strokes()))
    assert answered == [[0, 0, 0, 1]]
    apart(lambda: paint(painter, "1000"))  # no loop runs: at once
    apart(lambda: paint(painter, "1111"))
    assert answered == [[0, 0, 0, 1], [1, 0, 0, 0]]


def test_a_hole_that_cannot_be_answered_says_why_until_one_can(picture):
    painter = MaskPainter(picture, (2, 2))

    def answer(masks):
        if masks.hidden.sum() > 1:
            raise ValueError("too many patches")

    painter.on_hole(answer)
    apart(lambda: paint(painter, "1100"))
    assert painter.error == "This hole was not answered: too many patches"
    apart(lambda: paint(painter, "1000"))
    assert painter.error == ""


def test_where_widgets_do_not_run_there_is_a_picture(picture):
    data, _ = MaskPainter(picture, (4, 4), np.eye(4, dtype=bool))._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert 'alt="A picture with 4 of 16 patches hidden"' in data["text/html"]
    with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as still:
        pixels = np.asarray(still.convert("RGB")).astype(int)
    rows, cols = np.array(pixels.shape[:2]) // 4
    cells = pixels[: 4 * rows, : 4 * cols].reshape(4, rows, 4, cols, 3).transpose(0, 2, 1, 3, 4)
    inner = cells[:, :, rows // 4 : -rows // 4, cols // 4 : -cols // 4]
    plain = inner.reshape(4, 4, -1, 3).std(2).mean(-1) < 20
    assert plain.tolist() == np.eye(4, dtype=bool).tolist(), "the four hidden patches are of one colour, no other"


@pytest.mark.parametrize("widget", WIDGETS, ids=lambda w: w.__name__)
def test_the_script_loads_nothing_from_anywhere(widget):
    text = str(widget._esm).replace("http://www.w3.org/2000/svg", "")  # a name, which nobody fetches
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"\bimport\b", text)


def test_the_explorer_answers_the_last_stroke(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=2)
    wait_for(lambda: explorer.result_seq == 0)
    first = explorer.pictures
    assert len(first) == 2
    for i in range(5):
        paint(explorer, "0" * i + "1" + "0" * (15 - i))
    wait_for(lambda: explorer.result_seq == explorer.seq)
    wait_for(lambda: not explorer.busy)
    assert explorer.pictures != first
    assert explorer.last.inside.sum() == 64
    assert "cosine" in explorer.caption
    explorer.close()


def test_the_controls_change_what_is_drawn(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    wait_for(lambda: explorer.result_seq == 0)
    drawn = {"predicted": explorer.pictures}
    for show in ("pooled", "target", "null", "other", "mean"):
        explorer.show = show
        explorer.seq += 1
        wait_for(lambda: explorer.result_seq == explorer.seq)
        drawn[show] = explorer.pictures
    assert len({pictures[0] for pictures in drawn.values()}) == 6
    explorer.close()


def test_without_a_prediction_there_is_no_cosine(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    wait_for(lambda: explorer.result_seq == 0)
    for show, words in (("target", "the target encoder's own tokens"), ("null", "decoded from nothing")):
        ask(explorer, show=show, guidance=2.0)
        assert words in explorer.caption
        assert "cosine" not in explorer.caption
        assert ("guidance" in explorer.caption) is (show == "target")  # of nothing, guidance changes nothing
        assert set(explorer.cosines) == {-2}
        wait_for(lambda: explorer.story[2]["name"] == "Predictor" and "cosine" not in explorer.story[2]["words"])
    ask(explorer, show="predicted")
    assert "cosine" in explorer.caption
    assert max(explorer.cosines) > -2
    explorer.close()


def test_as_many_samples_as_asked_for_or_an_error(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=24)
    wait_for(lambda: explorer.result_seq == 0)
    assert len(explorer.pictures) == explorer.most_samples == 24
    explorer.close()
    for samples in (0, 25):
        with pytest.raises(TraitError, match="samples"):
            PredictionExplorer(model, decoder, picture, samples=samples)


def test_the_truth_comes_at_the_samples_resolution(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    wait_for(lambda: explorer.result_seq == 0)
    size = explorer.last.images.shape[-1]
    assert np.array_equal(pixels(explorer.truth), np.array(to_pil(to_tensor(picture, size))))
    explorer.close()


def pixels(uri):
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))


def control_images(explorer):
    """Images that the explorer's controls are made of."""
    return explorer._row.control_images(explorer.choice)


def test_a_row_of_pictures_leads_back_to_the_first(model, decoder, picture):
    red, blue = (Image.new("RGB", (40, 40), name) for name in ("red", "blue"))
    explorer = PredictionExplorer(model, decoder, picture, samples=1, other=[red, blue])
    assert [entry["name"] for entry in explorer.gallery] == ["the first picture", "other picture 1", "other picture 2"]
    wait_for(lambda: explorer.result_seq == 0)
    first, truth, control = explorer.image, explorer.truth, control_images(explorer)
    ask(explorer, chosen=1)
    assert (pixels(explorer.image) == (255, 0, 0)).all()
    assert (pixels(explorer.truth) == (254, 0, 0)).all() or (pixels(explorer.truth) == (255, 0, 0)).all()
    # The control is another image's: what is shown is none of them.
    assert torch.equal(control_images(explorer), control[1:])
    ask(explorer, upload=data_uri(Image.new("RGB", (64, 64), "lime")))
    assert explorer.gallery[explorer.chosen]["name"] == "your own picture"
    assert (pixels(explorer.truth) == (0, 255, 0)).all()
    ask(explorer, chosen=0)
    assert (explorer.image, explorer.truth, len(explorer.gallery)) == (first, truth, 4)
    assert torch.equal(control_images(explorer), control)
    explorer.chosen = 9
    assert "choose 0 to 3" in explorer.error
    explorer.close()
    named = PredictionExplorer(model, decoder, picture, samples=1, gallery={"a wall": red})
    assert [entry["name"] for entry in named.gallery] == ["the first picture", "a wall"]
    named.close()


def test_a_control_of_the_same_image_is_refused(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=1, other=picture)
    wait_for(lambda: explorer.result_seq == 0)
    assert explorer.error == ""
    explorer.show = "other"
    explorer.seq += 1
    wait_for(lambda: explorer.result_seq == explorer.seq)
    assert "another image" in explorer.error
    assert explorer.pictures == []
    explorer.close()


def test_a_mean_of_one_other_image_is_made_of_the_row_too(model, decoder, picture):
    size, others = model.config.image_size, [picture.rotate(angle) for angle in (90, 180)]
    explorer = PredictionExplorer(model, decoder, picture, samples=1, other=others[0], gallery={"turned": others[1]})
    wait_for(lambda: explorer.result_seq == 0)
    ask(explorer, show="mean")
    masks = explorer.masks
    images = torch.stack([to_tensor(one, size) for one in others])
    mean = torch.stack([predict(model, one, masks).predicted for one in images]).mean(0)
    prediction = predict(model, picture, masks)
    wanted = prediction.replaced(mean)
    assert f"cosine of the mean predicted and the target tokens {wanted.cosine.mean():.2f}" in explorer.caption
    of_mean = np.array(explorer.cosines)[explorer.hidden.ravel()]
    assert np.allclose(np.sort(of_mean), np.sort(wanted.cosine.ravel()), atol=1e-5)
    ask(explorer, show="other")
    assert not np.allclose(np.array(explorer.cosines)[explorer.hidden.ravel()], of_mean, atol=1e-5)
    explorer.close()
    alone = PredictionExplorer(model, decoder, picture, samples=1, other=others[0], gallery={})
    wait_for(lambda: alone.result_seq == 0)
    alone.show = "mean"
    alone.seq += 1
    wait_for(lambda: alone.result_seq == alone.seq)
    assert "several other images" in alone.error
    alone.close()


def named_as(decoder, name):
    """The decoder as if it were of the model of this name."""
    return Decoder(decoder.network, replace(decoder.config, ijepa=name))


def test_a_model_of_photographs_has_photographs_for_controls(model, decoder):
    kinds = {"menagerie-tiny": SCENES, "wild-tiny": PHOTOGRAPHS, "ijepa-vith14-in1k": PHOTOGRAPHS, "runs/mine": ""}
    assert {name: kind_of(named_as(decoder, name)) for name in kinds} == kinds
    assert [fits(SCENES, PHOTOGRAPHS), fits(SCENES, SCENES), fits("", SCENES), fits(SCENES, "")] == [
        False,
        True,
        True,
        True,
    ]
    size, photographs = model.config.image_size, examples.photographs()
    images = torch.stack([to_tensor(one.image, size) for one in photographs])
    explorer = PredictionExplorer(model, named_as(decoder, "wild-tiny"), photographs[0].image, samples=1)
    assert [entry["name"] for entry in explorer.gallery] == ["the first picture", "astronaut", "rocket", "coffee"]
    wait_for(lambda: explorer.result_seq == 0)
    for chosen, others in ((0, [1, 2, 3]), (2, [0, 1, 3])):
        ask(explorer, chosen=chosen, show="other")
        assert "drawn scenes" not in explorer.caption
        control = control_images(explorer)
        assert len(control) == 3 * 5  # each whole, then four crops of each; none of the picture that is shown
        assert torch.allclose(control[:3] / 255, images[others], atol=1 / 255)
        ask(explorer, show="mean")
    explorer.close()
    # Of a model of one's own it is not known what another image of its kind is.
    unknown = PredictionExplorer(model, decoder, photographs[0].image, samples=1)
    wait_for(lambda: unknown.result_seq == 0)
    assert "drawn scenes" not in unknown.caption
    ask(unknown, show="other")
    assert "the control is of drawn scenes, which may be another kind of picture" in unknown.caption
    unknown.close()


def test_the_models_offered_are_those_of_the_pictures_kind(model, decoder, picture):
    explorer = PredictionExplorer(
        model, named_as(decoder, "menagerie-tiny"), picture, samples=1, name="of scenes", other=picture.rotate(90),
        alternatives={"of photographs": (model, named_as(decoder, "wild-tiny")), "of my own": (model, decoder)},
    )  # fmt: skip
    assert explorer.names == ["of scenes", "of photographs", "of my own"]
    assert explorer.choices == ["of scenes", "of my own"]
    kinds = {entry["name"]: entry["kind"] for entry in explorer.gallery}
    assert list(kinds) == ["the first picture", "other picture 1", "cat", "astronaut", "rocket", "coffee"]
    assert list(kinds.values()) == [SCENES] * 2 + [PHOTOGRAPHS] * 4
    wait_for(lambda: explorer.result_seq == 0)
    assert explorer.caption.startswith("of scenes; ")
    ask(explorer, chosen=2)
    assert (explorer.choice, explorer.choices) == ("of photographs", ["of photographs", "of my own"])
    assert explorer.caption.startswith("of photographs; ")
    ask(explorer, show="other")
    photographs = [to_tensor(one.image, model.config.image_size) for one in examples.photographs()]
    assert torch.allclose(control_images(explorer)[0] / 255, photographs[1], atol=1 / 255)
    ask(explorer, chosen=0, show="predicted")
    assert (explorer.choice, explorer.choices) == ("of scenes", ["of scenes", "of my own"])
    ask(explorer, upload=data_uri(Image.new("RGB", (64, 64), "lime")))  # of any kind
    assert (explorer.choice, explorer.choices) == ("of scenes", explorer.names)
    explorer.close()


def test_the_samples_as_a_figure_whose_text_is_text(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=3, hidden=np.zeros((4, 4), bool))
    wait_for(lambda: explorer.result_seq == 0)
    explorer.figure_wanted = {"number": 1, "ending": ".svg"}
    assert explorer.figure_file == {"number": 1, "error": "There is nothing to save yet: hide something first."}
    hidden = np.zeros((4, 4), bool)
    hidden[1:3, 1:3] = True
    ask(explorer, mask="".join("01"[int(cell)] for cell in hidden.ravel()), show="target")
    figure = explorer.figure()
    assert [axis.get_title() for axis in figure.axes] == ["original", "context", "sample 1", "sample 2", "sample 3"]
    drawn = explorer.last.on(to_tensor(picture, explorer.last.images.shape[-1]))
    for axis, image in zip(figure.axes[2:], drawn, strict=True):
        assert np.allclose(axis.images[0].get_array(), image.permute(1, 2, 0), atol=1e-6)
    assert {line.get_color() for line in figure.axes[2].lines} == {"#0072B2"}  # of the target encoder's tokens
    found = {}
    for number, ending in enumerate((".svg", ".pdf"), start=2):
        explorer.figure_wanted = {"number": number, "ending": ending}
        assert explorer.figure_file["number"] == number
        assert explorer.figure_file["name"] == f"samples{ending}"
        found[ending] = base64.b64decode(explorer.figure_file["content"])
    text = found[".svg"].decode()
    for words in ("original", "context", "sample 3", explorer.caption):
        assert f">{words}<" in text
    assert b"/CIDFontType2" in found[".pdf"] or b"/TrueType" in found[".pdf"]  # letters, not outlines
    explorer.figure_wanted = {"number": 4, "ending": ".gif"}
    assert "saved as .pdf or .svg" in explorer.figure_file["error"]
    explorer.close()


def test_a_preview_has_no_numbers_of_another_hole(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=1, steps=12)
    wait_for(lambda: explorer.result_seq == 0)
    seen = []
    explorer.observe(lambda _: seen.append((explorer.busy, max(explorer.cosines), explorer.caption)), "pictures")
    ask(explorer, seed=3)
    assert (True, -2.0, "") in seen
    assert max(explorer.cosines) > -2
    assert explorer.caption.startswith("seed 3")
    explorer.close()


def test_a_round_of_predict_then_reveal(model, decoder, picture, monkeypatch):
    # The noise is another than the page's, whose samples may have been seen.
    choices = secrets.randbelow
    monkeypatch.setattr(secrets, "randbelow", lambda n: 77 if n > 2 else choices(n))
    explorer = PredictionExplorer(model, decoder, picture, samples=5)
    wait_for(lambda: explorer.result_seq == 0)
    shown = explorer.pictures[:3]
    explorer.seed = 77
    wanted = [explorer.answer(explorer.hidden, show)[0]["pictures"][:3] for show in ("predicted", "other")]
    explorer.seed = 0
    assert not set(shown) & set(wanted[0])
    seen = set()
    for number in range(1, 20):
        ask(explorer, game=number)
        found = explorer.game_round
        assert (found["number"], found["hole"], found["truth"]) == (number, explorer.mask, explorer.truth)
        assert [found["sides"][found["model"]], found["sides"][1 - found["model"]]] == wanted
        seen.add(found["model"])
    assert seen == {0, 1}  # fails by chance once in 2**18
    assert explorer.score == []
    explorer.close()


def test_one_block_of_a_round_is_the_hidden_one(model, decoder, picture):
    """The hole's own pixels once, and blocks of other pictures at its place; no two alike."""
    turned = [picture.rotate(angle) for angle in (90, 180, 270)]
    explorer = PredictionExplorer(model, decoder, picture, samples=1, other=[picture, *turned], gallery=turned[:1])
    wait_for(lambda: explorer.result_seq == 0)
    ask(explorer, game=1)
    found = explorer.game_round
    blocks = [decoded({"picture": block}) for block in found["candidates"]]
    truth, side = decoded({"picture": found["truth"]})[..., :3], len(blocks[0])
    assert len(blocks) == 4
    start = (truth.shape[0] - side) // 2  # the first hole is a centred block
    here = truth[start : start + side, start : start + side]
    assert [np.array_equal(block[..., :3], here) for block in blocks] == [i == found["right"] for i in range(4)]
    assert len({block.tobytes() for block in blocks}) == 4
    assert all((block[..., 3] == 1).all() for block in blocks)
    explorer.close()


def test_the_story_has_this_holes_values(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=1, steps=6)
    wait_for(lambda: explorer.story)
    prediction = predict(model, picture, explorer.masks)
    patches, context, predictor, predicted, decoded_ = explorer.story
    assert "4 of 16 are hidden" in patches["words"]
    assert f"12 visible patches into tokens of {TINY.width} numbers" in context["words"]
    assert f"{prediction.cosine.mean():.2f} on average" in predictor["words"]
    assert f"{prediction.cosine.min():.2f} to {prediction.cosine.max():.2f} by patch" in predictor["words"]
    assert [len(station["pictures"]) for station in explorer.story] == [1, 1, 1, 2, 4]
    assert "in 6 steps" in decoded_["words"]
    assert "step 1, 2, 4" in decoded_["words"]
    # Colours where there are tokens, nothing elsewhere.
    for station, where in ((context, ~explorer.hidden), (predicted, explorer.hidden)):
        alpha = decoded(station["pictures"][0])[..., 3]
        assert np.array_equal(alpha.reshape(4, 32, 4, 32).mean((1, 3)), where.astype(float))
    ask(explorer, mask="0" * 16)
    assert explorer.story == []
    explorer.close()


def decoded(tile):
    """Pixels of a tile, one a patch, (rows, cols, 4)."""
    with Image.open(io.BytesIO(base64.b64decode(tile["picture"].partition(",")[2]))) as image:
        return np.asarray(image) / 255


def ask(explorer, **traits):
    """What the page does when controls change."""
    for name, value in traits.items():
        setattr(explorer, name, value)
    explorer.seq += 1
    wait_for(lambda: explorer.result_seq == explorer.seq)
    assert explorer.error == ""


def test_the_tokens_of_each_sample_stand_below_its_picture(model, decoder, picture):
    hidden = np.eye(4, dtype=bool)
    explorer = PredictionExplorer(
        model, random_decoder(model, "token-vit"), picture, samples=3, hidden=hidden,
        alternatives={"one stage": (model, decoder)},
    )  # fmt: skip
    assert explorer.no_tokens
    wait_for(lambda: explorer.result_seq == 0)
    found = token_colours(predict(model, picture, explorer.masks), explorer.last)
    assert explorer.no_tokens == ""
    assert [tile["name"] for tile in explorer.token_tiles] == ["sample 1", "sample 2", "sample 3"]
    for i, tile in enumerate(explorer.token_tiles):
        assert decoded(tile) == pytest.approx(found.sampled[i], abs=0.003)
        assert f"sample {i + 1}" in tile["words"]
        assert f"{found.mutual_cosine[i]:.2f} with the other samples" in tile["words"]
    predicted, target, agree = explorer.reference_tiles
    assert decoded(predicted) == pytest.approx(found.predicted, abs=0.003)
    assert decoded(target) == pytest.approx(found.target, abs=0.003)
    assert ((decoded(agree)[..., 3] == 1) == hidden).all()
    assert explorer.agreement == agree["words"] == found.about

    ask(explorer, show="other")
    assert "another image" in explorer.reference_tiles[0]["name"]
    ask(explorer, show="predicted", samples=1)
    assert (len(explorer.token_tiles), len(explorer.reference_tiles)) == (1, 2)
    assert "no other to agree with" in explorer.agreement
    for reason, traits in (
        ("as they are", {"show": "target"}),
        ("one stage", {"show": "predicted", "choice": "one stage"}),
    ):
        ask(explorer, **traits)
        assert len(explorer.pictures) == 1
        assert (explorer.token_tiles, explorer.reference_tiles, explorer.agreement) == ([], [], "")
        assert reason in explorer.no_tokens
    ask(explorer, choice="this model")
    assert len(explorer.token_tiles) == 1
    ask(explorer, mask="0" * 16)
    assert explorer.token_tiles == []
    explorer.close()


def test_a_preview_does_not_stand_above_the_tokens_of_other_samples(model, picture):
    explorer = PredictionExplorer(model, random_decoder(model, "token-vit"), picture, samples=2, steps=8)
    wait_for(lambda: explorer.result_seq == 0)
    seen = []
    explorer.observe(lambda _: seen.append((explorer.busy, len(explorer.token_tiles))), "pictures")
    ask(explorer, seed=3)
    assert (True, 0) in seen
    assert len(explorer.token_tiles) == 2
    explorer.close()


def test_a_useless_mask_is_explained_and_not_fatal(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    wait_for(lambda: explorer.result_seq == 0)
    paint(explorer, "0" * 16)
    wait_for(lambda: explorer.result_seq == 1)
    assert explorer.error == ""
    assert "Nothing is hidden yet" in explorer.caption
    assert explorer.pictures == []
    paint(explorer, "1" * 16)
    wait_for(lambda: explorer.result_seq == 2)
    assert "hides everything" in explorer.error
    paint(explorer, "1" + "0" * 15)
    wait_for(lambda: explorer.result_seq == 3)
    assert explorer.error == ""
    assert explorer.pictures
    explorer.close()


def test_a_new_stroke_cancels_the_old_one(model, decoder, picture):
    calls = []
    whole = decoder.sample

    def slow(*args, callback, **options):
        def look(state):
            time.sleep(0.05)
            cancelled = callback(state)
            calls.append(cancelled)
            return cancelled

        return whole(*args, callback=look, **{**options, "steps": 20})

    decoder.sample = slow
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    wait_for(lambda: len(calls) > 2)
    paint(explorer, "1" + "0" * 15)
    wait_for(lambda: explorer.result_seq == 1)
    assert calls.count(True) == 1
    assert len(calls) < 20 + 15
    explorer.close()


def test_closing_ends_the_worker(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    worker = explorer._worker
    explorer.close()
    worker.join(timeout=10)
    assert not worker.is_alive()


def test_masks_are_saved_and_loaded(picture, tmp_path):
    painter = MaskPainter(picture, (4, 4), np.eye(4, dtype=bool))
    painter.save(tmp_path / "mask.npy")
    painter.save(tmp_path / "mask.json")
    assert (np.load(tmp_path / "mask.npy") == np.eye(4, dtype=bool)).all()
    assert Masks.from_json((tmp_path / "mask.json").read_text()) == painter.masks
    for name in ("mask.npy", "mask.json"):
        other = MaskPainter(picture, (4, 4))
        other.load(tmp_path / name)
        assert (other.hidden == np.eye(4, dtype=bool)).all()
        with pytest.raises(ValueError, match="4, 4"):
            MaskPainter(picture, (5, 5)).load(tmp_path / name)
    with pytest.raises(ValueError, match=r"\.json or \.npy"):
        painter.save(tmp_path / "mask.txt")
    with pytest.raises(ValueError, match="empty"):
        MaskPainter(picture, (4, 4)).save(tmp_path / "nothing.json")
    assert not (tmp_path / "nothing.json").exists()
    np.save(tmp_path / "code.npy", np.array([print]), allow_pickle=True)
    with pytest.raises(ValueError, match="pickle"):
        painter.load(tmp_path / "code.npy")


def test_masks_of_pretraining_are_the_samplers_own(picture):
    painter = MaskPainter(picture, (8, 8))
    painter.mask = painter.paper_masks[3]
    drawn = mask_samplers.sample(batch=1, grid=(8, 8), generator=torch.Generator().manual_seed(3))
    assert (painter.hidden == drawn.hidden[0].numpy()).all()


def test_an_own_picture_is_asked_about(model, decoder, picture):
    explorer = PredictionExplorer(model, decoder, picture, samples=1)
    wait_for(lambda: explorer.result_seq == 0)
    caption = explorer.caption
    own = Image.radial_gradient("L").convert("RGB")
    explorer.upload = data_uri(own)  # the page sets both at once
    explorer.seq += 1
    wait_for(lambda: explorer.result_seq == 1)
    assert explorer.heard == 1
    assert explorer.caption != caption
    assert explorer.picture.size == (320, 320)
    assert np.array(explorer.picture).std() > 20
    for wrong in ("data:text/plain,hello", "data:image/png;base64,abcd", "data:image/png;base64,ä"):
        explorer.upload = wrong
        assert "cannot be used" in explorer.error
        assert explorer.upload == ""
    assert np.array(explorer.picture).std() > 20  # the picture before is still there
    explorer.close()


def test_steps_guidance_seed_and_another_model(model, decoder, picture):
    torch.manual_seed(7)
    twin = IJEPA(TINY).eval()
    explorer = PredictionExplorer(
        model, decoder, picture, samples=1, name="first", alternatives={"second": (twin, random_decoder(twin))}
    )
    wait_for(lambda: explorer.result_seq == 0)
    found = [explorer.pictures[0]]
    for name, value in (("steps", 1), ("guidance", 3.0), ("seed", 5), ("choice", "second")):
        setattr(explorer, name, value)
        explorer.seq += 1
        wait_for(lambda: explorer.result_seq == explorer.seq)
        found.append(explorer.pictures[0])
    assert len(set(found)) == 5
    assert "guidance 3" in explorer.caption
    assert explorer.error == ""
    by_hand = predict(twin, picture, explorer.masks)
    around = np.array(explorer.cosines).reshape(4, 4)
    assert around[explorer.hidden] == pytest.approx(by_hand.cosine[0].numpy(), abs=1e-5)
    assert (around[~explorer.hidden] == -2).all()
    _, words = explorer.still()
    assert "1 samples" in words
    explorer.close()
    other = IJEPA(replace(TINY, image_size=48))
    with pytest.raises(ValueError, match="cannot share one painter"):
        PredictionExplorer(model, decoder, picture, alternatives={"x": (other, random_decoder(other))})


def test_the_sampler_counts_as_a_person_would():
    sampler = MaskSampler((6, 7), seed=2, mode="faithful")
    masks = sampler.drawn
    share, counts = np.zeros(42), np.zeros(43, int)
    for i in range(len(masks)):
        seen = set(masks.context[i][masks.valid[i]].tolist())
        counts[len(seen)] += 1
        for place in seen:
            share[place] += 1 / len(masks)
    assert sampler.context_share == pytest.approx(share.tolist(), abs=1e-5)
    assert sampler.context_counts == counts.tolist()
    first = sampler.masks[0]
    context, targets = set(masks.context[0][masks.valid[0]].tolist()), set(masks.targets[0].flatten().tolist())
    assert {i for i, c in enumerate(first) if c == "c"} == context - targets
    assert {i for i, c in enumerate(first) if c == "x"} == context & targets  # the reference sampler's leak
    assert context & targets
    assert "the sampler leaks" in sampler.summary
    assert {i for i, c in enumerate(first) if c.isdigit()} == targets - context
    before = sampler.masks
    sampler.scale_low = 0.5  # above the largest
    sampler.seq += 1
    assert "above the largest" in sampler.error
    assert (sampler.masks, sampler.result_seq, sampler.heard) == (before, 1, 1)
    sampler.strategy = "random"
    sampler.seq += 1
    assert sampler.error == ""
    assert sampler.context_counts[42 - round(42 * 0.6)] == len(masks)
    figure, words = sampler.still()
    assert "random" in words
    assert len(figure.axes) == 6


def test_the_monitor_follows_a_run(tmp_path):
    judged = []
    monitor = RunMonitor(tmp_path / "run", lambda rows: judged.append(len(rows)) or f"{len(rows)} rows", every=0.02)
    assert "Waiting" in monitor.status
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("optimization:\n  steps: 1000\n")
    lines = [f"{i},{i * 8},{i / 60:.3f},{1 / i:.6f},{2 * i}" for i in range(1, 501)]
    log = "step,images,minutes,loss,images_per_s\n"
    (run / "log.csv").write_text(log + lines[0] + "\n")
    wait_for(lambda: monitor.verdict == "1 rows")
    (run / "log.csv").write_text(log + "\n".join(lines) + "\n")
    wait_for(lambda: monitor.verdict == "500 rows")
    assert monitor.progress == 0.5
    assert monitor.status == "step 500 of 1000, 8.3 minutes, 1000 images a second"
    (loss,) = (p for p in monitor.panels if p["title"] == "Loss")
    points = loss["lines"][0]["points"]
    assert points[0] == [8, 1.0]
    assert points[-1] == [4000, 0.002]
    assert len(points) == 200
    figure, words = monitor.still()
    assert "500 rows" in words
    assert len(figure.axes) == 6
    (run / "config.yaml").write_text("nothing: 0\n")
    (run / "log.csv").write_text(log + lines[0] + "\n")
    wait_for(lambda: "cannot be read" in monitor.error)
    (run / "config.yaml").write_text("optimization:\n  steps: 1\n")
    monitor.stop()
    assert not monitor._watcher.is_alive()
    assert (monitor.progress, monitor.error) == (1.0, "")  # it read once more, and is still there
    assert monitor.comm is not None
    monitor.close()
    assert monitor.comm is None


def test_the_diagram_checks_its_energies(picture):
    candidates = {"true": (picture, "the truth"), "other": (picture, "not it")}
    diagram = ArchitectureDiagram(picture, candidates, {"mae": [2.0, 3.0]})
    _, words = diagram.still()
    assert "Generative: true 1.00, other 1.50" in words
    with pytest.raises(ValueError, match="2 candidates, but 1"):
        ArchitectureDiagram(picture, candidates, {"mae": [2.0]})
    with pytest.raises(ValueError, match="there are invariance"):
        ArchitectureDiagram(picture, candidates, {"gan": [2.0, 3.0]})
    assert ArchitectureDiagram().still()[1].startswith("Three architectures. Joint-embedding")


def test_a_decoder_of_another_model_is_refused(decoder, picture):
    torch.manual_seed(5)
    with pytest.raises(ValueError, match="other weights"):
        PredictionExplorer(IJEPA(TINY), decoder, picture)


def test_an_exported_page_shows_samples_though_nobody_waited(model, decoder, picture):
    """The still of a notebook that is run from top to bottom is drawn right after the widget is made."""

    class Slow:
        config = decoder.config

        def sample(self, *arguments, **options):
            time.sleep(0.3)
            return decoder.sample(*arguments, **options)

    explorer = PredictionExplorer(model, Slow(), picture, samples=2)
    image, words = explorer.still()
    explorer.close()
    assert image.width == 3 * image.height
    assert "2 samples of what the model expects" in words


def test_samples_of_two_stages_are_preceded_by_a_sketch(model, picture):
    """What the page shows first is the mean picture in each place, and nothing of the samples' tokens with it."""
    shown = []

    class Watched(PredictionExplorer):
        def _put(self, **traits):
            if traits.get("pictures"):
                shown.append((traits["pictures"], traits["token_tiles"]))
            super()._put(**traits)

    explorer = Watched(model, random_decoder(model, "token-vit"), picture, samples=3)
    explorer.still()
    explorer.close()
    (sketch, before), (last, tiles) = shown[0], shown[-1]
    assert len(sketch) == 3
    assert len(set(sketch)) == 1, "one picture, three times"
    assert len(set(last)) == 3
    assert sketch[0] not in last
    assert tiles
    assert not before


def test_an_option_that_no_widget_has_is_refused(model, decoder, picture):
    """traitlets drops it without a word, and the widget then shows something else than was asked for."""
    with pytest.raises(TypeError, match=r"PredictionExplorer has no option 'sample'\. Did you mean 'samples'"):
        PredictionExplorer(model, decoder, picture, sample=3)
    with pytest.raises(TypeError, match="MaskPainter has no option 'colour'"):
        MaskPainter(picture, (4, 4), colour="red")


def test_widgets_without_their_extra_name_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"anywidget: pip install 'ijepa-viz\[lab\]'"):
        importlib.reload(ijepa_viz.widgets)
