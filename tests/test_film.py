from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from ijepa_viz.data import menagerie
from ijepa_viz.data.clips import ClipSource
from ijepa_viz.data.menagerie import composition, film_clip, film_sentences
from ijepa_viz.data.menagerie.creatures import COLOURS, PART, POSES
from ijepa_viz.data.menagerie.film_drawing import draw, draw_maps
from ijepa_viz.data.menagerie.film_events import KINDS, OPEN, SCENE
from ijepa_viz.data.menagerie.film_plan import cast, plan
from ijepa_viz.data.menagerie.film_sentences import (
    EVENT_WORDS,
    HAPPENINGS,
    PLACES,
    TIMES,
    VOCABULARY,
    alternative_sentences,
    clip_sentence,
    describe,
    event_sentence,
    happening,
    portrait_sentence,
    read_clip,
    read_event,
)
from ijepa_viz.data.menagerie.film_sprites import GAIT_STEPS, creature_sprite, cycle_length
from ijepa_viz.data.menagerie.film_stories import ODDS, STORIES
from ijepa_viz.data.menagerie.film_vocabulary import Vocabulary
from ijepa_viz.data.opening import open_source

INDICES, SEEDS = st.integers(0, 10**6), st.integers(0, 99)


def of_story(story, *, event=None, count=1, frames=16, seed=0):
    """The first films of a story, as plans."""
    found = []
    for index in range(2000):
        if cast(index, seed)[0] == story:
            film = plan(index, seed, frames)
            if event is None or any(e.kind == event for e in film.events):
                found.append(film)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} films of {story} with {event}")


def recording(species, colour, pose, gait=None):
    sprite = creature_sprite(species, colour, pose, gait, 3)
    return np.round(sprite.points, 6), sprite.ends, sprite.colours, sprite.parts


def test_poses_of_still_scenes_are_drawn_as_before_films_came():
    """Of the polygons, not of pixels: those are a matter of Pillow's version."""
    found = hashlib.sha256()
    for species, poses in POSES.items():
        for pose in poses:
            points, *rest = recording(species, next(iter(COLOURS[species])), pose)
            found.update(repr((points.tolist(), rest)).encode())
    assert found.hexdigest()[:16] == "7dc0b1ec18faccc0"


@given(INDICES, SEEDS, st.sampled_from([(32, 8), (64, 4), (48, 5)]))
@settings(max_examples=4)
def test_a_film_is_a_function_of_seed_and_index(index, seed, shape):
    size, frames = shape
    a = menagerie.film(index, size, seed, frames, maps=True)
    plan.cache_clear()
    b = menagerie.film(index, size, seed, frames, maps=True)
    assert a.frames.shape == (frames, size, size, 3)
    assert np.array_equal(a.frames, b.frames)
    assert np.array_equal(a.owners, b.owners)
    assert a.film == b.film
    assert a.sentence == b.sentence
    assert np.array_equal(a.frames, menagerie.films(index, index + 1, size, seed, frames)[0])


def test_films_differ_by_index_and_by_seed():
    digests = {menagerie.film(i, 32, s, 4).frames.tobytes() for i in range(4) for s in range(4)}
    assert len(digests) == 16


@pytest.mark.slow
def test_parallel_drawing_draws_the_same(monkeypatch):
    monkeypatch.setattr(film_clip, "CLIPS_PER_PROCESS", 2)
    monkeypatch.setattr(film_clip.os, "cpu_count", lambda: 2)
    one_by_one = [menagerie.film(i, 32, 1, 4).frames for i in range(3, 8)]
    assert np.array_equal(menagerie.films(3, 8, 32, 1, 4), np.stack(one_by_one))


@given(INDICES, SEEDS, st.sampled_from([8, 16, 24]))
@settings(max_examples=30)
def test_positions_follow_velocities_and_truth_is_complete(index, seed, frames):
    film = plan(index, seed, frames)
    clip = film_clip.FilmClip(frames=np.zeros((frames, 1, 1, 3), np.uint8), film=film)
    for frame in range(frames):
        things, motion = film.things_at(frame), clip.motion(frame)
        for thing, moving, after in zip(things, motion, film.things_at(frame + 1), strict=True):
            assert after.x - moving.velocity[0] == pytest.approx(thing.x, abs=1e-12)
            assert after.y - moving.velocity[1] == pytest.approx(thing.y, abs=1e-12)
            assert thing.pose in POSES[thing.species]
            assert thing.colour in COLOURS[thing.species]
            assert thing.facing in ("left", "right")
    depths = [thing.depth for thing in film.things]
    assert depths == sorted(depths, reverse=True)
    looks = [(thing.species, thing.colour) for thing in film.things]
    assert len(set(looks)) == len(looks)  # so that a sentence means one of them
    assert film.things[film.subject].species == cast(index, seed)[1]
    assert [e.frame for e in film.events] == sorted(e.frame for e in film.events)
    assert all(0 < e.frame < frames and e.kind in KINDS for e in film.events)


@given(INDICES)
@settings(max_examples=20)
def test_what_comes_next_and_when(index):
    film = plan(index)
    clip = film_clip.FilmClip(frames=np.zeros((16, 1, 1, 3), np.uint8), film=film)
    for actor in range(len(film.things)):
        mine = [e for e in film.events if e.actor == actor]
        for frame in range(16):
            moving = clip.motion(frame)[actor]
            later = [e for e in mine if e.frame > frame]
            assert moving.upcoming == (later[0] if later else None)
            assert moving.frames_until == (later[0].frame - frame if later else None)


@given(INDICES, st.sampled_from([8, 16, 32]))
@settings(max_examples=40)
def test_events_are_what_the_states_do(index, frames):
    film = plan(index, 0, frames)
    for event in film.events:
        if event.actor == SCENE:
            assert film.sky_at(event.frame) == "dusk"
            assert film.sky_at(event.frame - 1) != "dusk"
            continue
        states, moves = film.states[event.actor], film.velocities()[:, event.actor]
        before, after = states[event.frame - 1], states[event.frame]
        facing = {k: "right" if states[min(k, frames)].yaw > 0 else "left" for k in (event.frame - 1, frames)}
        if event.kind == "stops":
            assert moves[event.frame - 1, 0] != 0
            assert moves[event.frame, 0] == 0
        elif event.kind == "walks_on":
            assert np.allclose(moves, moves[0])
        elif event.kind in ("goes_left", "goes_right"):
            assert moves[event.frame - 1, 0] == 0
            assert facing[frames] == event.kind.removeprefix("goes_")
        elif event.kind == "turns":
            assert facing[event.frame - 1] != facing[frames]
        elif event.kind in ("takes_off", "lands"):
            assert (before.pose == "fly", after.pose == "fly") == (event.kind == "lands", event.kind == "takes_off")


def test_every_story_is_told_as_often_as_it_says():
    told = Counter(cast(i, 5)[0] for i in range(4000))
    assert set(told) == set(ODDS) == set(STORIES)
    assert sum(ODDS.values()) == pytest.approx(1)
    for story, share in ODDS.items():
        assert binomtest(told[story], 4000, share).pvalue > 1e-4


def test_open_events_have_even_odds_whatever_came_before():
    seen = Counter()
    for index in range(1000):
        if cast(index, 3)[0] in ("flower", "signpost"):
            film = plan(index, 3)
            event = film.main_event
            assert event.open
            assert event.odds == 0.5
            assert event.alternatives == OPEN[film.story, film.things[film.subject].species == "bird"]
            seen[film.story, film.things[film.subject].facing, event.alternatives, event.kind] += 1
    for story, facing, alternatives in {key[:3] for key in seen}:
        first, second = (seen[story, facing, alternatives, kind] for kind in alternatives)
        assert first + second > 20
        assert binomtest(first, first + second).pvalue > 1e-4


def test_only_marks_leave_the_future_open():
    for index in range(300):
        film = plan(index)
        assert film.open == (film.story in ("flower", "signpost")) == bool(film.marks)
        assert sum(e.open for e in film.events) <= 1


@pytest.mark.parametrize("story", ["flower", "signpost"])
def test_both_outcomes_share_all_frames_before_the_event(story):
    for film in of_story(story, count=2):
        clips = [menagerie.film(film.index, 32, outcome=outcome) for outcome in (0, 1)]
        events = [clip.film.main_event for clip in clips]
        frame = events[0].frame
        assert frame == events[1].frame
        assert [e.kind for e in events] == list(events[0].alternatives)
        assert np.array_equal(clips[0].frames[:frame], clips[1].frames[:frame])
        assert not np.array_equal(clips[0].frames[frame:], clips[1].frames[frame:])
        assert any(np.array_equal(draw(film, 32), clip.frames) for clip in clips)
        said = [event_sentence(clip.film, event) for clip, event in zip(clips, events, strict=True)]
        assert tuple(said) == alternative_sentences(film, film.main_event)


def test_a_film_without_open_event_has_no_other_outcome():
    with pytest.raises(ValueError, match="no open event"):
        plan(of_story("hides")[0].index, outcome=1)
    with pytest.raises(ValueError, match="0 or 1, not 2"):
        plan(0, outcome=2)


def test_whoever_goes_behind_a_house_cannot_be_seen_and_comes_back():
    for film in of_story("hides", count=6):
        _, owners, occluded = draw_maps(film, 64)
        hides, returns = (e for e in film.events if e.actor == film.subject)
        assert (hides.kind, returns.kind) == ("hides", "returns")
        unseen = slice(hides.frame, returns.frame)
        assert film.things[hides.place].species == "building"
        assert not (owners[unseen] == film.subject + 1).any()
        assert (occluded[unseen, film.subject] == 1).all()
        assert occluded[hides.frame - 2, film.subject] < 1
        assert occluded[-1, film.subject] < 1
        # On the other side, where its constant velocity leads.
        house = film.things[hides.place].x
        path = film.positions()[:, film.subject, 0]
        assert (path[0] - house) * (path[-1] - house) < 0
        assert np.allclose(np.diff(path), path[1] - path[0])


@given(INDICES)
@settings(max_examples=10)
def test_occlusion_agrees_with_pixels(index):
    """Against the thing's own map, drawn in a film without the others."""
    film = plan(index, 2, 4)
    _, owners, occluded = draw_maps(film, 64)
    for actor in range(len(film.things)):
        only = replace(
            film, things=(film.things[actor],), states=(film.states[actor],), variations=(film.variations[actor],)
        )
        alone = draw_maps(only, 64)[1] == 1
        for frame in range(4):
            own = alone[frame].sum()
            seen = (alone[frame] & (owners[frame] == actor + 1)).sum()
            assert seen == (owners[frame] == actor + 1).sum()
            assert occluded[frame, actor] == pytest.approx(1 - seen / own if own else 1.0)


def test_maps_show_the_creature_where_the_truth_says():
    for index in range(6):
        clip = menagerie.film(index, 64, frames=8, maps=True)
        scene = clip.scene(3)
        assert isinstance(scene, menagerie.Scene)
        assert np.array_equal(scene.image, clip.frames[3])
        assert scene.things == clip.film.things_at(3)
        assert ((scene.parts > 0) == (scene.owners > 0)).all()
        for owner, thing in enumerate(scene.things, start=1):
            rows, cols = np.nonzero(scene.owners == owner)
            if len(rows) > 15 and clip.occluded[3, owner - 1] == 0 and 0.2 < thing.x < 0.8:
                assert abs((cols.mean() + 0.5) / 64 - thing.x) < 0.35 * thing.size + 0.02
                assert (rows.max() + 1) / 64 <= thing.y + 0.03
    with pytest.raises(ValueError, match="maps=True"):
        menagerie.film(0, 32).scene(0)


def test_whoever_leaves_is_seen_before_and_not_after():
    for film in of_story("walks", event="leaves", count=2):
        owners = draw_maps(film, 64)[1] == film.subject + 1
        event = next(e for e in film.events if e.kind == "leaves" and e.actor == film.subject)
        assert owners[0].any()
        assert not owners[event.frame :].any()


@pytest.mark.parametrize("species", ["dog", "wolf", "cat", "bird"])
def test_feet_on_the_ground_do_not_slide(species):
    """The lowest points of the legs stay where they are in the picture while the body moves on."""
    pose = "stand" if species == "bird" else "walk"
    colour = next(iter(COLOURS[species]))

    def legs(step):
        sprite = creature_sprite(species, colour, pose, step, 0)
        starts = (0, *sprite.ends[:-1])
        return [sprite.points[a:b] for a, b, part in zip(starts, sprite.ends, sprite.parts, strict=True) if part == PART["leg"]]  # fmt: skip

    stayed = 0
    for step in range(GAIT_STEPS // 2 - 1):
        moved = cycle_length(species) / GAIT_STEPS
        for now, then in zip(legs(step), legs(step + 1), strict=True):
            if now[:, 1].min() < 0.02 and then[:, 1].min() < 0.02 and now[:, 1].max() < 0.12:
                stayed += abs(then[:, 0].mean() + moved - now[:, 0].mean()) < 0.012
    assert stayed > GAIT_STEPS / 2


def test_legs_move_when_walking_and_wings_when_flying():
    points = [recording("dog", "brown", "walk", step)[0] for step in range(0, 24, 6)]
    assert all(np.abs(a - b).max() > 0.05 for a, b in pairwise(points))
    wings = [recording("bird", "red", "fly", step) for step in (0, 12)]
    heights = []
    for points, ends, _, parts in wings:
        starts = (0, *ends[:-1])
        tip = [points[a:b, 1] for a, b, p in zip(starts, ends, parts, strict=True) if p == PART["wing"]]
        heights.append((max(t.max() for t in tip), min(t.min() for t in tip)))
    assert heights[0][0] > 1.0
    assert heights[1][1] < 0.2
    standing = of_story("lands")[0]
    assert standing.states[standing.subject][-1].gait is None


def test_clouds_drift_and_evening_falls():
    film = next(f for f in map(plan, range(200)) if f.clouds and f.wind and f.evening[-1] > f.evening[0])
    quiet = replace(film, clouds=(), speckle=0.0)
    sky = draw(quiet, 48)[:, :6].astype(float).mean((1, 2))
    assert (np.diff(sky.sum(1)) < 1).all()
    assert sky[0, 2] - sky[0, 0] > 40  # blue at first
    assert sky[-1, 2] - sky[-1, 0] < sky[0, 2] - sky[0, 0] - 20
    moving = replace(film, speckle=0.0, evening=(0.0,) * 16, sky="day", things=(), states=(), variations=())
    frames = draw(moving, 48).astype(int)
    assert np.abs(frames[0] - frames[-1]).max() > 20
    assert np.array_equal(frames[0, 26:], frames[-1, 26:])


def test_a_bound_of_each_argument():
    with pytest.raises(ValueError, match="32 px"):
        menagerie.film(0, 16)
    for frames in (3, 65):
        with pytest.raises(ValueError, match=f"4 to 64 frames, not {frames}"):
            menagerie.film(0, 32, frames=frames)


# ------------------------------------------------------------------------------------------------ sentences


@given(INDICES, SEEDS)
@settings(max_examples=40)
def test_sentences_parse_back(index, seed):
    film = plan(index, seed)
    assert read_clip(clip_sentence(film)) == describe(film)
    for event in film.events:
        sentence = event_sentence(film, event)
        assert read_event(sentence) == happening(film, event)
        assert len(sentence.split()) <= EVENT_WORDS
        assert VOCABULARY.decode(VOCABULARY.encode(sentence, EVENT_WORDS)) == sentence
    words = clip_sentence(film)
    assert VOCABULARY.decode(VOCABULARY.encode(words)) == words
    assert clip_sentence(film, until=1).count(" then ") == 0


def test_sentences_say_what_happens():
    film = next(f for f in of_story("meets_wall", count=40) if f.things[f.subject].species == "dog")
    dog = film.things[film.subject]
    assert event_sentence(film, film.main_event) == f"the {dog.colour} dog turns round"
    assert portrait_sentence(dog) == f"a {dog.colour} dog looking {dog.facing}"
    assert clip_sentence(film).startswith(f"a {dog.colour} dog walks {dog.facing}")
    hides = of_story("hides")[0]
    house = hides.things[hides.main_event.place]
    assert event_sentence(hides, hides.main_event).endswith(f"goes behind the {house.colour} house")


def test_every_word_of_the_grammar_is_known_and_none_else():
    phrases = " ".join([*HAPPENINGS.values(), *PLACES.values(), *TIMES.values(), *film_sentences.VERBS.values()])
    words = set(phrases.replace("{house}", "").split()) | {"a", "an", "the", "and", "then", "looking", "left", "right"}
    words |= {
        "evening",
        "falls",
        *film_sentences.SPECIES_WORDS.values(),
        *(c for names in COLOURS.values() for c in names),
    }
    assert words == set(VOCABULARY.words[1:])
    assert set(PLACES) == set(composition.GROUNDS)
    assert set(TIMES) == set(composition.SKIES)
    assert set(KINDS) == {*HAPPENINGS, "evening"}


def test_word_ids_stay_what_trained_models_know():
    assert VOCABULARY.encode("the brown dog turns round, then evening falls.").tolist() == [3, 13, 8, 29, 30, 5, 43, 44]


def test_unknown_words_and_wrong_sentences_are_named():
    with pytest.raises(ValueError, match=r"'borwn' is no word .* Did you mean 'brown'"):
        VOCABULARY.encode("the borwn dog stops")
    with pytest.raises(ValueError, match="They are a, an, the"):
        VOCABULARY.encode("the xqz stops")
    with pytest.raises(ValueError, match="more than the length 3"):
        VOCABULARY.encode("the brown dog stops", 3)
    with pytest.raises(ValueError, match=f"0 to {len(VOCABULARY) - 1}"):
        VOCABULARY.decode([len(VOCABULARY)])
    with pytest.raises(ValueError, match="occur twice: dog"):
        Vocabulary(["dog", "dog"])
    for wrong, message in (
        ("the brown dog", "what happens .* word 4, not its end"),
        ("dog stops", "word 1, not 'dog'"),
        ("the blue dog stops", "a colour of a dog .* word 2, not 'blue'"),
        ("the brown dog stops stops", "its end was expected as word 5"),
    ):
        with pytest.raises(ValueError, match=message):
            read_event(wrong)
    with pytest.raises(ValueError, match="a place"):
        read_clip("a brown dog walks left")


# ------------------------------------------------------------------------------------------------ the data set


def test_the_source_gives_clips_and_first_frames():
    source = open_source("menagerie-film:count=6,frames=8,size=48")
    assert isinstance(source, ClipSource)
    assert (len(source), source.frames, source.clip_size) == (6, 8, 48)
    clip = source.clip(3)
    assert isinstance(clip, film_clip.FilmClip)
    assert clip.frames.shape == (8, 48, 48, 3)
    assert np.array_equal(source.render(3, 4, 48)[0], clip.frames[0])
    assert np.array_equal(source.render_clips(3, 5, 48)[0], clip.frames)
    assert np.array_equal(source.clips(np.array([3, 1])), np.stack([clip.frames, source.clip(1).frames]))
    some = source.subset(np.array([5, 3]), "two")
    assert np.array_equal(some.clip(1).frames, clip.frames)
    assert np.array_equal(some.render_clips(1, 2, 48)[0], clip.frames)
    assert some.labels.tolist() == source.labels[[5, 3]].tolist()
    with pytest.raises(IndexError, match="0 to 5, not 6"):
        source.clip(6)
    for index in range(6):
        subject = plan(index, 0, 8).things[plan(index, 0, 8).subject]
        assert source.classes[source.labels[index]] == subject.species


def test_splits_do_not_share_seeds():
    train, test = (open_source("menagerie-film:count=8,frames=4,size=32", split) for split in ("train", "test"))
    seen = {train.clip(i).frames.tobytes() for i in range(8)}
    assert not seen & {test.clip(i).frames.tobytes() for i in range(8)}
    seeds = [
        open_source(f"menagerie-film:count=1,seed={seed}", split).stamp
        for seed in range(3)
        for split in ("train", "test")
    ]
    assert len({str(stamp) for stamp in seeds}) == 6


def test_probes_of_still_scenes_refuse_films():
    """They draw scenes of their own by the numbers of the data set, which would be other pictures."""
    from ijepa_viz.probes.factors import evaluate_factors

    with pytest.raises(ValueError, match="use --data menagerie"):
        evaluate_factors(None, lambda name: open_source("menagerie-film:count=4,frames=4", name))


@pytest.mark.parametrize("options", ["frame=8", "count=many", "frames=2", "size=16"])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=r"menagerie-film options|4 to 64|32 px"):
        open_source(f"menagerie-film:{options}")
