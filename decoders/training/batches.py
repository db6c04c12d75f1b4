"""Training batches of a decoder: functions of (seed, step), divided among processes, optionally cached on disk."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from decoders.blocks import Blocks, blocks_of
from decoders.config import DecoderTrainConfig
from decoders.networks.network import BlockNetwork, TokenSource
from ijepa_viz import masks as mask_samplers
from ijepa_viz.data.batches import Prefetcher, identity, open_images
from ijepa_viz.data.menagerie.film_sentences import VOCABULARY
from ijepa_viz.data.picture_size import height_and_width, image_size
from ijepa_viz.data.transforms import Crops, normalise
from ijepa_viz.data.unreadable import open_readable
from ijepa_viz.masks import Grid, Masks
from ijepa_viz.models import IJEPA, gather_targets, patchify
from ijepa_viz.runtime.run_folder import batch_indices
from ijepa_viz.runtime.tensors import fingerprint, read_tensors, write_tensors

# Images among which the one with the most contrast in its holes is taken, for ``hole.focus``.
TRIES = 4


def contrast(images: Tensor, masks: Masks) -> Tensor:
    """Variance of the hidden pixels of images (n, 3, H, W), by hole and colour, averaged over these: (n,)."""
    patch = images.shape[-2] // masks.grid[0]
    tubelet = images.shape[1] // masks.steps if images.ndim == 5 else 1
    hidden = gather_targets(patchify(images, patch, tubelet), masks)  # (n, M, T, 3 t p p)
    return hidden.unflatten(-1, (3, -1)).transpose(2, 3).flatten(3).var(-1).mean((1, 2))


def window(blocks: Blocks, grid: Grid, side: int, draws: Tensor) -> Blocks:
    """Cut holes of whole frames down to ``side`` rows and columns, the same in all of their steps.

    Args:
        blocks: of holes that are all patches of one step or more. grid: (rows, cols).
        draws: (B,) in [0, 1), which choose a patch each in proportion to the squared error of its predicted tokens. The
            square lies around it, moved into the frame where it would reach beyond.
    """
    rows, cols = grid
    cells = rows * cols
    error = (blocks.target - blocks.predicted).square().mean(-1)  # (B, T)
    by_cell = torch.zeros(len(error), cells, device=error.device)
    by_cell.scatter_add_(1, blocks.patch_indices % cells, error)
    reached = by_cell.cumsum(1)
    centre = (reached < draws[:, None] * reached[:, -1:]).sum(1).clamp_max(cells - 1)
    top, left = ((at - side // 2).clamp(0, size - side) for at, size in ((centre // cols, rows), (centre % cols, cols)))
    row, col = blocks.patch_indices % cells // cols, blocks.patch_indices % cols
    inside = (row >= top[:, None]) & (row < top[:, None] + side) & (col >= left[:, None]) & (col < left[:, None] + side)
    chosen = inside.nonzero()[:, 1].view(len(error), -1)
    parts = {f.name: getattr(blocks, f.name) for f in fields(blocks)}
    index = {
        name: chosen if part.ndim == 2 else chosen[..., None].expand(-1, -1, part.shape[-1])
        for name, part in parts.items()
    }
    return Blocks(**{name: part.gather(1, index[name]) for name, part in parts.items()})


class BlockSource:
    """Batches of hidden blocks for training.

    Args:
        config: of the training.
        ijepa: frozen; computes the tokens, on its device.
        folder: of the run, for cached features.
        process, processes: rank and number of the processes that the batch is divided among. Crops and holes are
            drawn for the whole batch.

    Attributes:
        count: number of images. identity: what tells the data set from another.

    Raises:
        ValueError: an encoder without a predictor, a batch size that is not divisible by the processes, a
            ``hole.focus`` that is no share, a ``hole.window`` beyond the grid, a patch size below 1, or (in
            ``pictures``) fewer images than a batch.
    """

    def __init__(
        self, config: DecoderTrainConfig, ijepa: IJEPA, folder: Path, process: int = 0, processes: int = 1
    ) -> None:
        if ijepa.predictor is None:
            raise ValueError(f"{config.ijepa} has no predictor, so there are no predictions to decode.")
        size = config.optimization.batch_size
        if size % processes:
            raise ValueError(f"optimization.batch_size {size} does not divide among {processes} processes.")
        for name, share in (("hole.focus", config.hole.focus), ("data.cues", config.data.cues)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is a share of the images, from 0 to 1, got {share}.")
        if ijepa.config.steps > 1:
            _check_films(config, ijepa)
        elif any(config.hole.window):
            raise ValueError("hole.window is of holes that are whole frames of films: leave it out for pictures.")
        if config.data.patch_size is not None and config.data.patch_size < 1:
            raise ValueError(f"data.patch_size is in pixels, at least 1, got {config.data.patch_size}.")
        self.config, self.ijepa = config, ijepa
        self._mine = slice(process * size // processes, (process + 1) * size // processes)
        source = open_readable(config.data.source)
        self._cue = source.cue if ijepa.config.cue_tokens and config.data.cues else None
        self.count = len(source)
        self.identity = identity(source)
        own, patch = ijepa.config.image_size, config.data.patch_size or ijepa.config.patch_size
        drawn = image_size((ijepa.grid[0] * patch, ijepa.grid[1] * patch))
        self._images = {
            size: open_images(source, size, config.data.keep, config.data.workers, ijepa.config.frames)
            for size in sorted({own, drawn}, key=height_and_width)
        }
        self._sizes = own, drawn
        self._pictures = Prefetcher(self._drawn, ijepa.device)
        # The key is of everything that features depend on: model, data set, crops, holes, and the share of the batch.
        data, hole = asdict(replace(config.data, workers=None, cache_folder=None)), asdict(config.hole)
        if self._cue is None:
            del data["cues"]
        if ijepa.config.steps == 1:
            del hole["future"]
        del hole["window"]  # cut out of what is cached
        parts = [
            fingerprint(ijepa),
            self.identity,
            data,
            hole,
            config.run.seed,
            size,
            process,
            processes,
        ]
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
        place = folder if config.data.cache_folder is None else Path(config.data.cache_folder)
        self.cache = place / f"features-{key}" if config.data.cached_batches else None

    def generator(self, step: int) -> torch.Generator:
        """Random generator of one step."""
        return torch.Generator().manual_seed(self.config.run.seed * 1_000_003 + step)

    def pictures(self, step: int) -> tuple[Tensor, Masks, Tensor | None]:
        """Normalised crops (b, 3, H, W) and masks of step ``step``, this process's share.

        Where the decoder draws at another resolution, also the same crops (b, 3, H', W') in [0, 1] at that resolution.
        """
        return self._drawn(step)[:3]

    def _drawn(self, step: int) -> tuple[Tensor, Masks, Tensor | None, Tensor | None]:
        """As :meth:`pictures`, and the cues (b, L) of the predictions, rows of zeros for none; None without cues."""
        config = self.config
        count = config.optimization.batch_size
        generator = self.generator(step)
        tries = TRIES if config.hole.focus else 1
        chosen = batch_indices(self.count, count * tries, step, config.run.seed)
        crops = Crops.draw(count * tries, generator, scale=config.data.crop_scale, flip=config.data.horizontal_flip)
        masks = self._holes(count * tries, generator)
        own, drawn = self._sizes
        rows = torch.arange(count)[self._mine] * tries
        if tries > 1:
            focused = (torch.rand(count, generator=generator) < config.hole.focus)[self._mine]
            candidates = (rows[:, None] + torch.arange(tries)).flatten()
            images = self._images[own].crops(chosen[candidates], crops[candidates], self.ijepa.device)
            most = contrast(images.cpu(), masks[candidates]).view(-1, tries).argmax(1)
            rows = rows + torch.where(focused, most, 0)
        found = {
            size: images.crops(chosen[rows], crops[rows], self.ijepa.device) for size, images in self._images.items()
        }
        cues = None if self._cue is None else self._cues(chosen[rows], step)
        return normalise(found[own]), masks[rows], None if drawn == own else found[drawn], cues

    def _holes(self, count: int, generator: torch.Generator) -> Masks:
        """Masks of ``count`` images, or films."""
        hole, grid, steps = self.config.hole, self.ijepa.grid, self.ijepa.config.steps
        if steps == 1:
            return mask_samplers.sample(
                "multiblock",
                batch=count,
                grid=grid,
                generator=generator,
                targets=hole.targets,
                target_scale=hole.scale,
                target_aspect=hole.aspect,
                context_scale=(1.0, 1.0),
            )
        draws = torch.rand(3, generator=generator).tolist()
        time: dict[str, Any] = {"batch": count, "grid": grid, "steps": steps, "generator": generator}
        if draws[0] < hole.future:
            longest = steps // 2
            ahead = 1 + int(draws[1] * longest)
            return mask_samplers.sample("future", seen=(max(1, steps // 4), longest), ahead=ahead, **time)
        share = hole.scale[0] + draws[2] * (hole.scale[1] - hole.scale[0])
        return mask_samplers.sample("tubes", ranges=((1, share),), aspect=hole.aspect, **time)

    def _cues(self, indices: np.ndarray, step: int) -> Tensor:
        """Word ids (b, L) of some images' sentences, rows of zeros where there is no cue."""
        assert self._cue is not None
        length = self.ijepa.config.cue_tokens
        # A stream of its own, drawn for the whole batch: crops and holes are the same with cues and without.
        generator = self.generator(step + 250_000_000)
        drawn = torch.rand(self.config.optimization.batch_size, generator=generator)[self._mine]
        given = drawn < self.config.data.cues
        ids = [
            VOCABULARY.encode(self._cue(int(i)) if use else "", length)
            for i, use in zip(indices, given.tolist(), strict=True)
        ]
        return torch.from_numpy(np.stack(ids))

    def mine(self, drawn: Tensor) -> Tensor:
        """Select this process's share of values of all blocks of a batch, (B, ...) -> (b, ...)."""
        targets = self.config.hole.targets
        return drawn[self._mine.start * targets : self._mine.stop * targets].to(self.ijepa.device)

    def blocks(self, step: int) -> Blocks:
        """Blocks of step ``step``, this process's share, from the cache if there is one, cut to ``hole.window``."""
        found = self._whole(step)
        low, high = self.config.hole.window
        if not high:
            return found
        generator = self.generator(step + 750_000_000)
        side = int(torch.randint(low, high + 1, (), generator=generator))
        draws = self.mine(torch.rand(self.config.optimization.batch_size, generator=generator))
        return window(found, self.ijepa.grid, side, draws)

    def _whole(self, step: int) -> Blocks:
        """Blocks of step ``step`` with all of their patches."""
        if self.cache is None:
            return self._compute(step)
        number = step % self.config.data.cached_batches
        path = self.cache / f"batch-{number:06d}.safetensors"
        if not path.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            blocks = self._compute(number)
            tensors = {f.name: getattr(blocks, f.name) for f in fields(blocks)}
            write_tensors(path, {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()})
        tensors = read_tensors(path)
        if "places" in tensors:  # as 0.1.0 wrote it
            tensors["patch_indices"] = tensors.pop("places")
        return Blocks(**tensors).to(self.ijepa.device)

    def _compute(self, step: int) -> Blocks:
        return blocks_of(self.ijepa, *self._pictures(step))

    def measure(self, network: BlockNetwork, accelerator: Accelerator, batches: int = 8) -> None:
        """Set the network's mean and standard deviation of tokens, from all processes' blocks of the first batches."""
        measured = [self._whole(i) for i in range(batches)]
        for source in TokenSource:
            tokens = torch.cat([getattr(blocks, source.name.lower()).flatten(0, 1) for blocks in measured])
            mean = accelerator.reduce(tokens.mean(0), "mean")
            network.feature_mean[source] = mean
            variance = accelerator.reduce((tokens - mean).square().mean(0), "mean")
            network.feature_std[source] = variance.sqrt().clamp_min(1e-4)


def _check_films(config: DecoderTrainConfig, ijepa: IJEPA) -> None:
    """Check what the training of a decoder of films asks for.

    Raises:
        ValueError: several holes a film, a share out of range, or mirrored films with cues.
    """
    if config.hole.targets != 1:
        raise ValueError(f"Films have one hole each: set hole.targets=1, got {config.hole.targets}.")
    low, high = config.hole.window
    if (low, high) != (0, 0) and not (1 <= low <= high <= min(ijepa.grid) and config.hole.future == 1):
        raise ValueError(
            f"hole.window is (low, high) rows and columns, from 1 to {min(ijepa.grid)}, of holes that are whole frames "
            f"(hole.future=1); got {low} to {high} with hole.future={config.hole.future}."
        )
    if not 0 <= config.hole.future <= 1:
        raise ValueError(f"hole.future is a share of the batches, from 0 to 1, got {config.hole.future}.")
    if config.data.horizontal_flip and ijepa.config.cue_tokens and config.data.cues:
        raise ValueError(
            "data.horizontal_flip mirrors left and right, which the cues name: set data.horizontal_flip=false, or "
            "data.cues=0."
        )
