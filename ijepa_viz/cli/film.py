"""``ijepa-viz film``: drawn films as loops beside samples of their future, with cues and without."""

from __future__ import annotations

import argparse
from pathlib import Path

from ijepa_viz.cli.command import COMMANDS, Command, import_libraries
from ijepa_viz.cli.compute import add_compute_arguments, open_decoder, open_model, positive
from ijepa_viz.cli.decoder_of import decoder_of
from ijepa_viz.runtime.outputs import check_output, ending

# As in figures.film_loops and film_examples, whose imports are slow.
_ENDINGS = (".gif", ".webp")
_MILLISECONDS = 180  # of each frame
_STORIES = ("signpost", "flower", "meets_wall")


def _film(options: argparse.Namespace) -> int:
    ending(options.out, _ENDINGS)
    check_output(options.out)
    import_libraries()
    from ijepa_viz.figures.film_loops import loop_frames, write_loop
    from ijepa_viz.film_examples import cued_films, film_panels
    from ijepa_viz.prediction import check_pair
    from ijepa_viz.runtime.progress import Progress

    with Progress(f"loading {options.model}"):
        model = open_model(options.model, options)
        decoder = open_decoder(decoder_of(options.model), options)
    check_pair(model, decoder)
    films = cued_films(model, options.stories, options.first)
    with Progress("drawing samples"):
        panels = film_panels(films, decoder, options.samples, options.seed)
    frames = loop_frames(panels, options.scale)[options.every - 1 :: options.every]
    if not frames:
        raise ValueError(f"--every is at most {model.config.frames}, the film's frames, got {options.every}.")
    write_loop(options.out, frames, _MILLISECONDS * options.every)
    for film in films:
        print(f"{film.story}: right cue {film.cues[1]!r}, other cue {film.cues[2]!r}")
    print(f"{options.out}  {options.out.stat().st_size / 1000:.0f} kB")
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="of films with cues, with a decoder")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .gif or .webp")
    parser.add_argument("--stories", nargs="+", default=_STORIES, metavar="STORY", help="of the films, a row each")
    parser.add_argument("--first", type=int, default=0, help="pass over this many films of each story (0)")
    parser.add_argument("--samples", type=positive, default=2, help="number of samples without a cue (2)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples' noise (0)")
    add_compute_arguments(parser)
    parser.add_argument("--every", type=positive, default=1, help="write every N-th frame, for a smaller file (1)")
    parser.add_argument("--scale", type=positive, help="enlarge each pixel of a film by this (to 128 px)")


COMMANDS.register("film")(
    Command("write drawn films and samples of their future as one animated picture", _arguments, _film)
)
