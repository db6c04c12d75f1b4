"""What decoders learn from: hidden blocks' pixels beside what an I-JEPA predicts there, and what it sees there.

Batches, crops and holes are functions of (seed, step).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from decoders.config import DecoderTrainConfig
from decoders.family import PREDICTED, TARGET, BlockNetwork
from ijepa_viz import masks as mask_samplers
from ijepa_viz.checkpoints import fingerprint, read_tensors, write_tensors
from ijepa_viz.data.batches import ReadAhead, open_pictures
from ijepa_viz.data.soundness import open_readable
from ijepa_viz.data.transforms import Crops, denormalise, normalise
from ijepa_viz.masks import Masks
from ijepa_viz.model import IJEPA, cut, patchify
from ijepa_viz.run_folder import batch_indices


@dataclass(frozen=True)
class Blocks:
    """One batch of hidden blocks.

    Attributes:
        clean: (B, T, 3 p p), pixels in [-1, 1]. places: (B, T) int64.
        predicted, target: (B, T, D).
    """

    clean: Tensor
    places: Tensor
    predicted: Tensor
    target: Tensor

    def __getitem__(self, some: slice) -> Blocks:
        return Blocks(*(getattr(self, f.name)[some] for f in fields(self)))

    def to(self, device: torch.device | str) -> Blocks:
        """A copy on ``device``, in float32 where it holds numbers."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self)}
        return Blocks(**{name: t.float() if t.is_floating_point() else t for name, t in moved.items()})


class BlockSource:
    """Where a decoder's batches come from.

    Args:
        config: of the training.
        ijepa: frozen; its device does the work.
        folder: of the run; cached features live there.
        process, processes: which of how many the batch is divided among. Crops and holes are drawn for the whole.

    Raises:
        ValueError: an encoder without a predictor, a batch that does not divide among the processes, or (in
            ``pictures``) fewer pictures than a batch.
    """

    def __init__(
        self, config: DecoderTrainConfig, ijepa: IJEPA, folder: Path, process: int = 0, processes: int = 1
    ) -> None:
        if ijepa.predictor is None:
            raise ValueError(f"{config.ijepa} has no predictor, so there are no predictions to decode.")
        size = config.optimization.batch_size
        if size % processes:
            raise ValueError(f"optimization.batch_size {size} does not divide among {processes} processes.")
        self.config, self.ijepa = config, ijepa
        self._mine = slice(process * size // processes, (process + 1) * size // processes)
        source = open_readable(config.data.source)
        self.count = len(source)
        self._images = open_pictures(source, ijepa.config.image_size, config.data.keep, config.data.workers)
        self._pictures = ReadAhead(self.pictures, ijepa.device)
        # Features of another model, data set, crop or hole never pass for these.
        data = asdict(replace(config.data, workers=None))
        told = [fingerprint(ijepa), data, asdict(config.hole), config.run.seed, size, process, processes]
        key = hashlib.sha256(repr(told).encode()).hexdigest()[:12]
        self.cache = folder / f"features-{key}" if config.data.cached_batches else None

    def generator(self, step: int) -> torch.Generator:
        """The source of randomness of one step."""
        return torch.Generator().manual_seed(self.config.run.seed * 1_000_003 + step)

    def pictures(self, step: int) -> tuple[Tensor, Masks]:
        """This process's share of step ``step``: normalised crops (b, 3, H, W) and their holes."""
        config = self.config
        count = config.optimization.batch_size
        generator = self.generator(step)
        chosen = batch_indices(self.count, count, step, config.run.seed)
        crops = Crops.draw(count, generator, scale=config.data.crop_scale, flip=config.data.horizontal_flip)
        masks = mask_samplers.sample(
            "multiblock",
            batch=count,
            grid=self.ijepa.grid,
            generator=generator,
            targets=config.hole.targets,
            target_scale=config.hole.scale,
            target_aspect=config.hole.aspect,
            context_scale=(1.0, 1.0),
        )
        pixels = self._images.crops(chosen[self._mine], crops[self._mine], self.ijepa.device)
        return normalise(pixels), masks[self._mine]

    def mine(self, drawn: Tensor) -> Tensor:
        """This process's share of what was drawn for every block of a batch: (B, ...) -> (b, ...)."""
        targets = self.config.hole.targets
        return drawn[self._mine.start * targets : self._mine.stop * targets].to(self.ijepa.device)

    def blocks(self, step: int) -> Blocks:
        """This process's blocks of step ``step``, from the cache where there is one."""
        if self.cache is None:
            return self._compute(step)
        number = step % self.config.data.cached_batches
        path = self.cache / f"batch-{number:06d}.safetensors"
        if not path.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            made = self._compute(number)
            half = {f.name: getattr(made, f.name) for f in fields(made)}
            write_tensors(path, {n: t.half() if t.is_floating_point() else t for n, t in half.items()})
        return Blocks(**read_tensors(path)).to(self.ijepa.device)

    def _compute(self, step: int) -> Blocks:
        return blocks_of(self.ijepa, *self._pictures(step), self.config.data.patch_size)

    def measure(self, network: BlockNetwork, accelerator: Accelerator, batches: int = 8) -> None:
        """Fill the network's standardisation, from all processes' blocks of the first batches."""
        seen = [self.blocks(i) for i in range(batches)]
        for kind, name in ((PREDICTED, "predicted"), (TARGET, "target")):
            tokens = torch.cat([getattr(blocks, name).flatten(0, 1) for blocks in seen])
            mean = accelerator.reduce(tokens.mean(0), "mean")
            network.feature_mean[kind] = mean
            variance = accelerator.reduce((tokens - mean).square().mean(0), "mean")
            network.feature_std[kind] = variance.sqrt().clamp_min(1e-4)


@torch.no_grad()
def blocks_of(ijepa: IJEPA, images: Tensor, masks: Masks, patch_size: int | None = None) -> Blocks:
    """The hidden blocks of normalised images (n, 3, H, W), n M of them, on the model's device.

    ``patch_size`` is that of the pixels, which are resized from what the model sees; None is the model's own.
    """
    images, masks = images.to(ijepa.device), masks.to(str(ijepa.device))
    predicted = ijepa.predict(ijepa.encode_context(images, masks), masks)
    target = ijepa.targets(images, masks)
    pixels = denormalise(images) * 2 - 1
    patch = patch_size or ijepa.config.patch_size
    if patch != ijepa.config.patch_size:
        side = [cells * patch for cells in ijepa.grid]
        pixels = F.interpolate(pixels, side, mode="bilinear", antialias=True)
    parts = (cut(patchify(pixels, patch), masks), masks.targets, predicted.float(), target.float())
    return Blocks(*(part.flatten(0, 1) for part in parts))
