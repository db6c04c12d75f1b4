"""``python -m decoders.study``: decoders at equal minutes, the table of STUDY.md.

Steps are counted in minutes of a step timed on an idle machine, all rows side by side in one run, so that a row may be
trained beside other work and still gets its share.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from decoders.config import DecoderTrainConfig
from decoders.decoder import Decoder
from decoders.evaluation.classifier import as_images, classifier_features
from decoders.evaluation.ground_truth import linear_probe_answers
from decoders.evaluation.metric import box_of, centre_hole, draw_tokens, sample_blocks, source_blocks
from decoders.evaluation.realism import two_sample_test
from decoders.evaluation.scenes import SCENE_FACTORS, SceneReader
from decoders.loading import load_decoder
from decoders.training.trainer import DecoderTrainer
from ijepa_viz.checkpoints import load_model
from ijepa_viz.data.picture_size import ImageSize
from ijepa_viz.data.splits import Splits
from ijepa_viz.masks import sample
from ijepa_viz.models import IJEPA
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.command_line import attempt
from ijepa_viz.runtime.files import read_json, read_text, write_file
from ijepa_viz.runtime.progress import track
from ijepa_viz.runtime.tensors import fingerprint

STUDIES = Path(__file__).parent / "configs" / "study"
_WARM_UP, _TIMED = 3, 9


@dataclass(frozen=True)
class Study:
    """The rows of the study and where they are kept.

    Attributes:
        rows: name -> overrides of the base config. base: path of that config. folder: of runs, times and scores.
    """

    rows: dict[str, list[str]]
    base: Path
    folder: Path

    @classmethod
    def read(cls, path: Path, folder: Path) -> Study:
        """Read a file of rows; its ``base`` is a config beside it.

        Raises:
            ValueError: not a file of rows, or an unknown key in one, named.
        """
        try:
            found = yaml.safe_load(read_text(path))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is no YAML: {error}") from error
        if not isinstance(found, dict) or set(found) != {"base", "rows"} or not isinstance(found["rows"], dict):
            raise ValueError(f"{path} is no file of rows: it has the keys base and rows, and rows is a mapping.")
        study = cls(found["rows"], path.parent / found["base"], folder)
        for name in study.rows:
            study.config(name, 1)
        return study

    def config(self, row: str, steps: int, name: str = "") -> DecoderTrainConfig:
        """The config of one row.

        Raises:
            ValueError: no such row, or an unknown key.
        """
        if row not in self.rows:
            raise ValueError(f"There is no row {row!r}; there are {', '.join(self.rows)}.")
        own = [f"optimization.steps={steps}", f"run.folder={self.folder / (name or row)}"]
        return config_files.load(DecoderTrainConfig, self.base, [*self.rows[row], *own])

    @property
    def times(self) -> Path:
        """File of the milliseconds of a step, by row."""
        return self.folder / "times.json"

    @property
    def scores(self) -> Path:
        """File of the scores, by row and minutes."""
        return self.folder / "scores.json"


def time_rows(study: Study, rows: list[str]) -> dict[str, float]:
    """Median milliseconds of a training step of each row, in turns; nothing else should run meanwhile.

    Holes are of other sizes in every step, and rows may draw them in another order: times are by hidden patch, of holes
    of the average size.
    """
    trainers = {}
    for row in rows:
        config = study.config(row, 10**6, f"time-{row}")
        trainers[row] = DecoderTrainer(replace(config, run=replace(config.run, log_with="none")))
    average = {row: average_patches(trainer) for row, trainer in trainers.items()}
    measured: dict[str, list[float]] = {row: [] for row in rows}
    for step in track(range(_WARM_UP + _TIMED), "timing", "round"):
        for row, trainer in trainers.items():
            # Cached features are read in training, and here are computed before the clock starts.
            patches = trainer.source.blocks(step).clean.shape[1]
            started = time.perf_counter()
            trainer.update(step)
            if step >= _WARM_UP:
                took = 1000 * (time.perf_counter() - started)
                measured[row].append(took / patches * average[row])
    return {row: round(statistics.median(times), 1) for row, times in measured.items()}


def average_patches(trainer: DecoderTrainer, draws: int = 400) -> float:
    """Average number of patches of a hole."""
    hole, grid = trainer.config.hole, trainer.ijepa.grid
    generator = torch.Generator().manual_seed(0)
    sizes = [
        sample(
            batch=1, grid=grid, generator=generator, target_scale=hole.scale, target_aspect=hole.aspect
        ).targets.shape[2]
        for _ in range(draws)
    ]
    return sum(sizes) / draws


_readers: dict[tuple[Any, ...], SceneReader] = {}  # of this process: each has a classifier, which takes minutes


def _reader_of(model: IJEPA, size: ImageSize, train: int, test: int, epochs: int) -> SceneReader:
    key = fingerprint(model), size, train, test, epochs
    if key not in _readers:
        _readers[key] = SceneReader(model, size, Splits("menagerie"), train, test, epochs)
    return _readers[key]


def score(model: IJEPA, decoder: Decoder, train: int = 10000, test: int = 600, epochs: int = 12) -> dict[str, float]:
    """Readings of single samples of held-out scenes, in percent, and the kernel distance (x 1000) to real blocks.

    Of a decoder of two stages also what a linear probe of real target tokens reads from the sampled tokens.
    """
    reader = _reader_of(model, decoder.image_size, train, test, epochs)
    blocks = reader.blocks

    def read(pixels: torch.Tensor, prefix: str) -> dict[str, float]:
        return {f"{prefix}{name}": _percent(found["accuracy"]) for name, found in reader.read(pixels).items()}

    indices = blocks.patch_indices
    found = read(sample_blocks(decoder, blocks.predicted, indices), "")
    found |= read(sample_blocks(decoder, blocks.target, indices, source="target"), "target tokens: ")
    found |= read(sample_blocks(decoder, blocks.predicted, indices, conditioning="pooled"), "pooled: ")
    if decoder.pipeline.token_network is not None:
        sampled = draw_tokens(decoder, blocks.predicted, indices).flatten(1)
        learned = reader.train_blocks.target.flatten(1)
        answers = linear_probe_answers(learned, reader.train_scenes.labels, sampled)["read_from_tokens"]
        for name in SCENE_FACTORS:
            right = (answers[name] == reader.truth[name]).float().mean()
            found[f"probe of sampled tokens: {name}"] = _percent(float(right))
    hole, patch = centre_hole(model), model.config.patch_size
    held = source_blocks(model, Splits("menagerie")("test"), decoder.image_size, hole, 2 * test)
    half = len(held.clean) // 2
    pixels = sample_blocks(decoder, held.predicted[half:], held.patch_indices[half:])
    real, drawn = (
        classifier_features(reader.classifier, as_images(p, box_of(hole), patch)) for p in (held.clean[:half], pixels)
    )
    distance, _ = two_sample_test(real, drawn, permutations=1)
    return {**found, "kernel distance": round(1000 * distance, 1)}


def _percent(share: float) -> float:
    return round(100 * share, 1)


def run(study: Study, row: str, minutes: list[float]) -> dict[str, dict[str, float]]:
    """Train one row to each number of minutes, of its timed steps, and score it: minutes -> score.

    Every number of minutes is a run of its own, with the schedule of that length.

    Raises:
        FileNotFoundError: steps have not been timed. ValueError: no such row, or minutes that are none.
        InterruptedError: a signal ended the training, which is saved.
    """
    study.config(row, 1)
    if not all(math.isfinite(length) and length > 0 for length in minutes):
        raise ValueError(f"--minutes are above 0, got {', '.join(f'{length:g}' for length in minutes)}.")
    times = _saved(study.times, "time")
    if row not in times:
        raise ValueError(f"{study.times} has no row {row!r}: time it with the command `time`.")
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for length in minutes:
        steps = round(length * 60_000 / times[row])
        config = study.config(row, steps, f"{row}-{length:g}")
        trainer = DecoderTrainer(config, resume=any(Path(config.run.folder).glob("step-*")))
        done = trainer.run()
        if trainer.interrupted:  # a score is of all its minutes
            raise InterruptedError(f"{row} was stopped after step {trainer.step} of {steps}: run it again to go on.")
        found = score(load_model(config.ijepa), load_decoder(done))
        scores = read_json(study.scores) if study.scores.is_file() else {}
        scores.setdefault(row, {})[f"{length:g}"] = {"steps": steps, **found}
        write_file(study.scores, json.dumps(scores, indent=1).encode())
    return scores[row]


def _saved(path: Path, command: str) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path} yet: the command `{command}` writes it.")
    return read_json(path)


def table(study: Study) -> str:
    """The scores as a table of Markdown."""
    times, scores = _saved(study.times, "time"), _saved(study.scores, "run")
    lines = ["| row | ms a step | minutes | steps | species | part | facing | of target tokens | pooled | distance |"]
    lines.append("|---|" + "---|" * 9)
    for row, lengths in scores.items():
        for length, found in lengths.items():
            three = [f"{found[name]:.1f}" for name in SCENE_FACTORS[:3]]
            rest = [
                " ".join(f"{found[prefix + name]:.0f}" for name in SCENE_FACTORS[:3])
                for prefix in ("target tokens: ", "pooled: ")
            ]
            cells = [row, f"{times[row]:.0f}", length, found["steps"], *three, *rest, f"{found['kernel distance']:.0f}"]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m decoders.study", description=__doc__)
    parser.add_argument("study", metavar="STUDY", help="pixels, tokens, or a file of rows")
    parser.add_argument("what", choices=["time", "run", "table"])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="of the study; none is all of them")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 20.0], help="of each row's timed steps")
    parser.add_argument("--folder", type=Path, help="of runs, times and scores (default: runs/study/STUDY)")
    options = parser.parse_args(arguments)

    def work() -> None:
        known_file = STUDIES / f"{options.study}.yaml"
        path = known_file if known_file.is_file() else Path(options.study)
        if not path.is_file():
            raise FileNotFoundError(f"There is no study {options.study!r}: it is pixels, tokens, or a file of rows.")
        study = Study.read(path, options.folder or Path("runs/study") / path.stem)
        rows = options.rows or list(study.rows)
        if options.what == "time":
            for row in rows:
                study.config(row, 1)
            study.folder.mkdir(parents=True, exist_ok=True)
            known = read_json(study.times) if study.times.is_file() else {}
            write_file(study.times, json.dumps({**known, **time_rows(study, rows)}, indent=1).encode())
            print(study.times.read_text(encoding="utf-8"))
        elif options.what == "run":
            for row in rows:
                print(json.dumps({row: run(study, row, options.minutes)}, indent=1))
        else:
            print(table(study))

    return attempt("decoders.study", work)


if __name__ == "__main__":
    sys.exit(main())
