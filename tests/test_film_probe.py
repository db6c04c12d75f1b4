"""The probe ``film``: cuts, truths and baselines of drawn films, its reader, and its measures, each against a formula."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ijepa_viz.cli.tables import as_text
from ijepa_viz.data.menagerie.film_events import KINDS
from ijepa_viz.data.menagerie.film_plan import plan
from ijepa_viz.data.opening import open_source
from ijepa_viz.film_prediction import film_pixels
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.probes import PROBES
from ijepa_viz.probes.bootstrap import auroc, auroc_of_pairs
from ijepa_viz.probes.film_measures import agreement, averaging, place_errors, returns
from ijepa_viz.probes.film_reader import ReaderOptions, Reading, fit_reader, read
from ijepa_viz.probes.film_tokens import energies, predicted_tokens, share_of_the_way
from ijepa_viz.probes.film_truth import FutureFilms, cut, draw_futures, frozen, twins_of

SIZES = ModelConfig(
    image_size=32, patch_size=8, frames=16, tubelet=2, width=32, depth=1, heads=2, predictor_width=32,
    predictor_depth=1, predictor_heads=2, cue_tokens=8, cue_vocabulary=57,
)  # fmt: skip
SEED = 5


@pytest.fixture(scope="module")
def model() -> IJEPA:
    torch.manual_seed(0)
    return IJEPA(SIZES).eval()


@pytest.fixture(scope="module")
def films() -> FutureFilms:
    return draw_futures(SIZES, 40, SEED)


def test_the_cut_is_before_the_event_and_its_truth_is_that_of_the_plan(films):
    for i, index in enumerate(films.numbers.tolist()):
        planned = plan(index, SEED)
        start = int(films.frames_seen[i])
        assert start == 2 * int(films.seen[i]) == 2 * cut(planned, 8, 2)
        assert 4 <= start <= 8
        states = planned.states[planned.subject]
        for h in range(8):
            state = states[start + h]
            assert films.places[i, h].tolist() == pytest.approx([state.x, state.y], abs=1e-6)
        assert films.last[i].tolist() == pytest.approx([states[start - 1].x, states[start - 1].y], abs=1e-6)
        if films.open[i]:
            event = planned.main_event
            assert start <= event.frame
            assert {KINDS[films.kinds[i]], KINDS[films.other_kinds[i]]} == set(event.alternatives)
            assert films.cues[i] != films.wrong_cues[i] != ""
        if planned.story == "hides":
            assert not films.visible[i, 0] or int(films.events[i]) == start
            assert KINDS[films.kinds[i]] == "returns"


def test_constant_velocity_is_exact_behind_a_house_and_wrong_at_a_wall(films):
    def off(story: str) -> torch.Tensor:
        some = films[films.of(story)]
        assert len(some) > 1
        return (some.constant_velocity() - some.places).norm(dim=-1)

    assert off("hides").max() < 1e-5
    assert off("walks").max() < 1e-5
    assert off("meets_wall")[:, -1].min() > 0.05


def test_twins_share_what_is_seen_and_only_that(films):
    own = films[films.open]
    twins = twins_of(SIZES, own, SEED)
    assert torch.equal(own.kinds, twins.other_kinds)
    assert twins.cues == own.wrong_cues
    for mine, theirs, seen in zip(own.frames, twins.frames, own.frames_seen.tolist(), strict=True):
        assert torch.equal(mine[:seen], theirs[:seen])
        assert not torch.equal(mine, theirs)
    still = frozen(own)
    assert torch.equal(still.frames[0, -1], own.frames[0, int(own.frames_seen[0]) - 1])


def test_tokens_of_films_with_different_cuts_are_those_of_each_alone(model, films):
    some = films[torch.tensor([int((films.seen == k).int().argmax()) for k in films.seen.unique()])]
    assert len(some.seen.unique()) > 1
    together = predicted_tokens(model, some, some.cues)
    for i in range(len(some)):
        alone = predicted_tokens(model, some[torch.tensor([i])], some.cues[i : i + 1])
        assert torch.allclose(together[i], alone[0], atol=2e-3)


@pytest.mark.slow
def test_a_reader_finds_what_is_written_in_tokens_of_films_that_it_was_not_fitted_on():
    """Tokens that say where the creature is by one bright place, and what happens by its colour."""

    def made(count: int, seed: int) -> tuple[torch.Tensor, FutureFilms]:
        generator = torch.Generator().manual_seed(seed)
        cells = torch.randint(16, (count, 4), generator=generator)
        kinds = torch.randint(2, (count,), generator=generator)
        tokens = 0.1 * torch.randn(count, 4, 16, 8, generator=generator)
        tokens[torch.arange(count)[:, None], torch.arange(4), cells, 0] = 3.0
        tokens[torch.arange(count)[:, None], torch.arange(4), cells, 1] = 3.0 * kinds[:, None].float()
        places = torch.stack([(cells % 4 + 0.5) / 4, (cells // 4 + 0.5) / 4], dim=-1).repeat_interleave(2, 1)
        truth = torch.ones(count, 8, dtype=torch.bool)
        zero, none = torch.zeros(count, dtype=torch.int64), torch.zeros(count, 2)
        names = ("walks",) * count
        return tokens, FutureFilms(
            zero, zero, zero, places, none, none, truth, truth, kinds, 1 - kinds, zero, zero, names, names, names
        )

    tokens, learned = made(400, 0)
    reader = fit_reader(tokens, learned, (4, 4), 2, ReaderOptions(steps=300))
    tokens, tested = made(80, 1)
    found = read(reader, tokens, tested)
    assert (found.places - tested.places).norm(dim=-1).mean() < 0.06  # cells are 0.25 apart
    assert found.chosen(tested.kinds, tested.other_kinds).float().mean() > 0.95


def test_place_errors_are_distances_of_creatures_in_the_picture(films):
    shifted = films.places + torch.tensor([0.3, 0.4])
    table = place_errors(films, {"predicted": shifted, "constant_velocity": films.constant_velocity()})
    assert all(point["mean"] == pytest.approx(0.5, abs=1e-5) for point in table["all"]["predicted"].values())
    assert list(table["all"]["predicted"]) == [str(h) for h in range(1, 9)]
    wall = table["meets_wall"]
    closer = wall["predicted_minus_constant_velocity"]["8"]
    assert closer["mean"] == pytest.approx(0.5 - wall["constant_velocity"]["8"]["mean"], abs=1e-5)
    assert closer["low"] <= closer["mean"] <= closer["high"]


def test_a_perfect_reading_of_a_return_is_off_by_nothing(films):
    own = films[films.of("hides")]
    perfect = Reading(own.places, own.visible.float() - 0.5, torch.zeros(len(own), 12))
    table = returns(own, perfect, usual=3.0)
    assert table["frames_off"]["mean"] == 0
    assert table["place_off"]["mean"] == 0
    never = Reading(own.places, torch.full_like(perfect.visible, -1.0), perfect.kinds)
    assert returns(own, never, usual=3.0)["frames_off"]["mean"] > 1


def test_agreement_is_with_the_cue_that_was_given(films):
    own = films[films.open]
    kinds = torch.zeros(len(own), 12)
    kinds[torch.arange(len(own)), own.kinds] = 1.0
    reading = Reading(own.places, own.visible.float(), kinds)
    table = agreement(own, {"right_cue": reading, "wrong_cue": reading})["all"]
    assert table["right_cue"]["accuracy"] == 1
    assert table["wrong_cue"]["accuracy"] == 0


def test_the_middle_of_two_futures_is_half_of_the_way():
    first, second = torch.randn(2, 6, 4, 16, 8, generator=torch.Generator().manual_seed(0))
    for share in (0.0, 0.5, 1.0):
        found = share_of_the_way(torch.lerp(first, second, share), first, second)
        assert torch.allclose(found, torch.full((6,), share), atol=1e-5)
    table = averaging({"no_cue": torch.full((6,), 0.5), "right_cue": torch.ones(6)})
    assert table["no_cue"]["between"]["accuracy"] == 1
    assert table["right_cue"]["between"]["accuracy"] == 0
    assert energies(first, first).tolist() == [0.0] * 6


def test_auroc_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    positive, negative = (
        torch.randint(6, (40,), generator=generator) + 1.0,
        torch.randint(6, (40,), generator=generator),
    )
    truth = [1] * 40 + [0] * 40
    expected = roc_auc_score(truth, torch.cat([positive, negative]).tolist())
    assert auroc(positive, negative.float()) == pytest.approx(expected)
    table = auroc_of_pairs(positive, negative.float())
    assert table["low"] <= table["auroc"] <= table["high"]
    wins = (positive > negative).float().mean() + 0.5 * (positive == negative).float().mean()
    assert table["pairs"] == pytest.approx(float(wins))


@pytest.mark.slow
def test_the_probe_gives_a_table_of_numbers_and_says_what_it_learned_from(model):
    data = "menagerie-film:count=8,size=32"
    table = PROBES["film"](model, lambda part: open_source(data, part), train=40, test=40, steps=4)
    assert "seed 3003" in table["test_data"]
    assert "fitted on 40 with seed 3001" in table["test_data"]
    assert {"place", "energy", "cue", "average", "returns"} <= set(table)

    def numbers(part: dict) -> list[float]:
        return [
            n for v in part.values() for n in (numbers(v) if isinstance(v, dict) else [v]) if not isinstance(n, str)
        ]

    assert all(math.isfinite(n) for n in numbers(table))
    assert {"true_or_frozen", "outcomes_no_cue", "outcomes_right_cue", "captions"} == set(table["energy"])


def test_other_data_and_models_are_refused(model):
    with pytest.raises(ValueError, match="use --data menagerie-film"):
        PROBES["film"](model, lambda part: open_source("menagerie:count=4", part))
    pictures = ModelConfig(
        image_size=32, patch_size=8, width=32, depth=1, heads=2, predictor_width=32, predictor_depth=1
    )
    with pytest.raises(ValueError, match="This model is of pictures"):
        PROBES["film"](IJEPA(pictures), lambda part: open_source("menagerie-film:count=4", part))


@pytest.mark.parametrize(
    "frames", [np.full((4, 16, 16, 3), 128.0), np.full((4, 16, 16, 3), 128), np.full((4, 16, 16, 3), -0.5)]
)
def test_frames_of_unknown_range_are_refused(frames):
    """They would be predicted from as if they were white or black, without a word."""
    model = SimpleNamespace(config=SimpleNamespace(frames=4, height_and_width=(16, 16)))
    with pytest.raises(ValueError, match="from 0 to 1"):
        film_pixels(frames, model)
    assert film_pixels(np.full((4, 16, 16, 3), 255, np.uint8), model).max() == 1


def test_the_table_of_films_is_printed_section_by_section():
    """Numbers with intervals may say more than three things, and sections hold sections."""
    score = {"auroc": 0.75, "low": 0.5, "high": 0.9, "pairs": 0.8}
    error = {"mean": 0.25, "low": 0.125, "high": 0.5}
    text = as_text({"films": 3, "energy": {"captions": score}, "place": {"all": {"real": {"1": error, "2": error}}}})
    lines = [line.split() for line in text.splitlines() if line]
    assert lines[0] == ["films", "3"]
    assert lines[1] == ["captions"]
    assert lines[2] == ["energy", "0.750", "[0.500", "0.900]"]
    assert lines[3:5] == [["place"], ["all"]]
    assert lines[5] == ["1", "2"]
    assert lines[6] == ["real", *["0.250", "[0.125", "0.500]"] * 2]
