"""The menagerie in motion (``menagerie-film``): drawn films with ground truth, deterministic in (seed, index)."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ijepa_viz.data.clips import Clip, ClipSource
from ijepa_viz.data.menagerie.composition import NAMES, Scene, Thing, check_size
from ijepa_viz.data.menagerie.film_drawing import details_of, draw, draw_maps
from ijepa_viz.data.menagerie.film_events import KINDS, Event
from ijepa_viz.data.menagerie.film_plan import FEWEST_FRAMES, MOST_FRAMES, VERSION, Film, cast, plan
from ijepa_viz.data.menagerie.film_sentences import clip_sentence, event_sentence
from ijepa_viz.data.menagerie.workers import in_parallel
from ijepa_viz.data.source import register
from ijepa_viz.runtime.progress import track

# Starting a process costs about as much as drawing this many clips.
CLIPS_PER_PROCESS = 60


@dataclass(frozen=True)
class Motion:
    """Ground truth of one thing's motion in one frame.

    Attributes:
        velocity: (x, y) to the next frame, in image widths and heights a frame.
        upcoming: what happens to it next; None where nothing does any more.
        frames_until: frames until then; None likewise.
        occluded: share of its pixels in the picture that nearer things cover; 1 outside of the picture; None in a clip
            without maps.
    """

    velocity: tuple[float, float]
    upcoming: Event | None
    frames_until: int | None
    occluded: float | None


@dataclass(frozen=True, kw_only=True)
class FilmClip(Clip):
    """A drawn film and its ground truth.

    Attributes:
        frames: (T, H, W, 3) uint8.
        sentence: what happens, in words (:mod:`ijepa_viz.data.menagerie.film_sentences`).
        film: the plan: things, paths, events, and which of them are open.
        parts, owners: (T, H, W) uint8, as those of a :class:`Scene`; None without maps.
        occluded: (T, A) float32, as in :class:`Motion`; None without maps.
        details: as those of a :class:`Scene`.
    """

    film: Film
    parts: np.ndarray | None = None
    owners: np.ndarray | None = None
    occluded: np.ndarray | None = None
    details: tuple[tuple[float, float], ...] = ()

    def scene(self, frame: int) -> Scene:
        """A frame with all the ground truth of a still scene.

        Raises:
            ValueError: a clip without maps.
        """
        if self.parts is None or self.owners is None:
            raise ValueError("A scene has maps of parts and owners: draw the clip with maps=True.")
        film = self.film
        return Scene(
            self.frames[frame],
            film.things_at(frame),
            self.parts[frame],
            self.owners[frame],
            film.ground,
            film.sky_at(frame),
            film.texture_phase,
            film.speckle,
            self.details,
        )

    def motion(self, frame: int) -> tuple[Motion, ...]:
        """The motion of each thing in a frame, in the order of the things."""
        vx_vy = self.film.velocities()[frame].tolist()
        found = []
        for actor, (vx, vy) in enumerate(vx_vy):
            upcoming = self.film.next_event(frame, actor)
            until = None if upcoming is None else upcoming.frame - frame
            share = None if self.occluded is None else float(self.occluded[frame, actor])
            found.append(Motion((vx, vy), upcoming, until, share))
        return tuple(found)

    def subject(self, frame: int) -> Thing:
        """The creature that the story is about, in a frame; its index is ``film.subject``."""
        return self.film.things_at(frame)[self.film.subject]


def film(
    index: int, size: int = 64, seed: int = 0, frames: int = 16, *, maps: bool = False, outcome: int | None = None
) -> FilmClip:
    """Draw film ``index`` of the menagerie ``seed``.

    Args:
        size: height = width, in pixels.
        frames: T, 4 to 64, of the same two seconds: more frames are finer steps.
        maps: also draw the maps of parts and owners.
        outcome: which alternative of the open event happens, 0 or 1: the frames before it are the same for both. None
            draws it, at even odds.

    Raises:
        ValueError: a size below 32 pixels; a number of frames out of range; an outcome for a film without open event.

    >>> clip = film(0, frames=8)
    >>> clip.frames.shape
    (8, 64, 64, 3)
    """
    check_size(size)
    planned = plan(index, seed, frames, outcome)
    parts, owners, occluded = draw_maps(planned, size) if maps else (None, None, None)
    details = details_of(planned, size) if maps else ()
    return FilmClip(
        frames=draw(planned, size),
        sentence=clip_sentence(planned),
        film=planned,
        parts=parts,
        owners=owners,
        occluded=occluded,
        details=details,
    )


def films(start: int, stop: int, size: int = 64, seed: int = 0, frames: int = 16) -> np.ndarray:
    """Draw the frames of films ``start`` to ``stop``, (n, T, size, size, 3) uint8; many in parallel processes."""
    check_size(size)
    workers = min(os.cpu_count() or 1, (stop - start) // CLIPS_PER_PROCESS)
    if workers > 1:
        drawn = in_parallel(
            f"{__package__}.film_worker",
            start,
            stop,
            [size, seed, frames],
            frames * size * size * 3,
            workers,
            "drawing films",
            "clip",
        )
        return drawn.reshape(-1, frames, size, size, 3)
    # A child process draws one at a time, and its parent shows the progress.
    indices = range(start, stop) if stop - start == 1 else track(range(start, stop), "drawing films", "clip")
    clips = [draw(plan(i, seed, frames), size) for i in indices]
    return np.stack(clips) if clips else np.empty((0, frames, size, size, 3), np.uint8)


@register("menagerie-film")
def open_films(options: str, split: str) -> ClipSource:
    """Drawn films with ground truth (``menagerie-film:seed=0,count=20000,frames=16,size=64``).

    As pictures, their first frames. Labels are the subject's species. Split "test" draws from another seed.

    Raises:
        ValueError: another option, or a value that is no integer or out of range.
    """
    numbers = {"seed": 0, "count": 20000 if split == "train" else 4000, "frames": 16, "size": 64}
    for text in filter(None, options.split(",")):
        key, _, value = text.partition("=")
        if key not in numbers or not value.isdecimal():
            raise ValueError(f"menagerie-film options are seed=N, count=N, frames=N and size=N, got {text!r}.")
        numbers[key] = int(value)
    seed, count = numbers["seed"] * 2 + (split != "train"), numbers["count"]
    frames, clip_size = numbers["frames"], numbers["size"]
    check_size(clip_size)
    if not FEWEST_FRAMES <= frames <= MOST_FRAMES:
        raise ValueError(f"A film has {FEWEST_FRAMES} to {MOST_FRAMES} frames, not {frames}.")

    def first_frames(start: int, stop: int, size: int) -> np.ndarray:
        check_size(size)
        drawn = [draw(plan(i, seed, frames), size, first=1) for i in range(start, stop)]
        return np.concatenate(drawn) if drawn else np.empty((0, size, size, 3), np.uint8)

    def main_event(index: int) -> int:
        event = plan(index, seed, frames).main_event
        return 0 if event is None else 1 + KINDS.index(event.kind)

    def main_sentence(index: int) -> str:
        planned = plan(index, seed, frames)
        return "" if planned.main_event is None else event_sentence(planned, planned.main_event)

    return ClipSource(
        name=f"menagerie-film ({split})",
        read=lambda i: Image.fromarray(first_frames(i, i + 1, 256)[0]),
        count=count,
        labels=np.array([NAMES.index(cast(i, seed)[1]) for i in range(count)], dtype=np.int64),
        classes=list(NAMES),
        truths={
            "event": lambda: np.array([main_event(i) for i in range(count)], dtype=np.int64),
            "open": lambda: np.array([plan(i, seed, frames).open for i in range(count)], dtype=np.int64),
        },
        stamp=["menagerie-film", VERSION, seed, frames],
        cue=main_sentence,
        render=first_frames,
        frames=frames,
        clip_size=clip_size,
        read_clip=lambda i, size: film(i, size, seed, frames),
        render_clips=lambda start, stop, size: films(start, stop, size, seed, frames),
    )
