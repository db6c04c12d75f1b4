"""Training a block decoder on a frozen I-JEPA's predictions, by flow matching on clean pixels.

Features are computed on the fly, so any I-JEPA and any data set will do. Batches, crops, holes and
noise are functions of (seed, step).
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from decoders.block_vit import NULL, POOLED, PREDICTED, TARGET, TOKENS, BlockViT, DecoderConfig
from decoders.config import DecoderTrainConfig
from decoders.loading import load_decoder, save_decoder
from decoders.sampling import Decoder
from ijepa_viz import masks as mask_samplers
from ijepa_viz import strict_config
from ijepa_viz.checkpoints import fingerprint, load_model
from ijepa_viz.data.sources import arrays, open_source
from ijepa_viz.data.transforms import denormalise, normalise, random_resized_crop
from ijepa_viz.figures import completion_grid
from ijepa_viz.masks import Masks
from ijepa_viz.model import cut, patchify
from ijepa_viz.precision import choose_precision
from ijepa_viz.prediction import predict
from ijepa_viz.run_folder import RunFolder, batch_indices

_COLUMNS = ["step", "minutes", "loss", "loss_tokens", "loss_null", "grad_norm", "lr", "blocks_per_s"]


class DecoderTrainer:
    """One run: build it, then :meth:`run` it. Raises as ``RunFolder`` and ``load_model`` do."""

    def __init__(self, config: DecoderTrainConfig, resume: bool = False) -> None:
        self.config = config
        self.folder = RunFolder(config.run.folder, _COLUMNS, resume)
        precision = choose_precision(config.run.precision)
        self.accelerator = Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")
        self.ijepa = load_model(config.ijepa, self.accelerator.device).eval().requires_grad_(False)
        self.images = arrays(open_source(config.data.source), self.ijepa.config.image_size)
        torch.manual_seed(config.run.seed)
        found = self.folder.resume_from
        self.step, self.seconds = 0, 0.0
        network = BlockViT(
            DecoderConfig(
                grid=self.ijepa.grid,
                patch_size=self.ijepa.config.patch_size,
                feature_width=self.ijepa.config.width,
                ijepa=Path(config.ijepa).name,
                ijepa_sha256=fingerprint(self.ijepa),
                **asdict(config.network),
            )
        )
        self.ema = EMAModel(network.parameters(), decay=config.optimization.ema, use_ema_warmup=True, power=0.75)
        optimizer = torch.optim.AdamW(
            network.parameters(),
            config.optimization.lr,
            (0.9, 0.95),
            weight_decay=config.optimization.weight_decay,
        )
        state = None
        if found:
            state = torch.load(found / "trainer.pt", weights_only=True, map_location="cpu")
            network.load_state_dict(state["network"])
            self.ema.load_state_dict(state["ema"])
            optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
        self.bare = network
        self.ema.to(self.accelerator.device)
        self.network, self.optimizer = self.accelerator.prepare(network, optimizer)
        if not found:
            self._measure_features()

    # ------------------------------------------------------------------ data

    def batch(self, step: int) -> tuple[Tensor, Masks, torch.Generator]:
        """Normalised crops (B, 3, H, W), their holes, and the generator for the rest of the step."""
        config = self.config
        count = config.optimization.batch_size
        generator = torch.Generator().manual_seed(config.run.seed * 1_000_003 + step)
        chosen = batch_indices(len(self.images), count, step, config.run.seed)
        pixels = torch.from_numpy(self.images[chosen]).permute(0, 3, 1, 2)
        crops = random_resized_crop(
            pixels,
            self.ijepa.config.image_size,
            generator,
            scale=config.data.crop_scale,
            flip=config.data.horizontal_flip,
        )
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
        device = self.accelerator.device
        return normalise(crops).to(device), masks.to(str(device)), generator

    @torch.no_grad()
    def features(self, images: Tensor, masks: Masks) -> tuple[Tensor, Tensor]:
        """Predicted and target tokens of every block, each (B M, T, D)."""
        predicted = self.ijepa.predict(self.ijepa.encode_context(images, masks), masks)
        return predicted.flatten(0, 1).float(), self.ijepa.targets(images, masks).flatten(0, 1).float()

    def _measure_features(self, batches: int = 8) -> None:
        """Fill the network's standardisation, from batches no training step will draw."""
        last = self.config.optimization.steps
        pairs = [self.features(*self.batch(last + i)[:2]) for i in range(batches)]
        for kind in (PREDICTED, TARGET):
            tokens = torch.cat([pair[kind].flatten(0, 1) for pair in pairs])
            self.bare.feature_mean[kind] = tokens.mean(0)
            self.bare.feature_std[kind] = tokens.std(0).clamp_min(1e-4)

    # ------------------------------------------------------------------ one step

    def update(self, step: int) -> dict[str, float]:
        """One optimizer step; returns what the log shows."""
        config = self.config
        images, masks, generator = self.batch(step)
        predicted, target = self.features(images, masks)
        pixels = patchify(denormalise(images) * 2 - 1, self.ijepa.config.patch_size)
        clean = cut(pixels, masks).flatten(0, 1)  # (B M, T, 3 p p) in [-1, 1]
        places = masks.targets.flatten(0, 1)
        draws = torch.rand(2, len(clean), generator=generator).to(clean.device)
        kind = torch.where(draws[0] < config.condition.targets, TARGET, PREDICTED)
        mode = torch.where(draws[1] < config.condition.null + config.condition.pooled, POOLED, TOKENS)
        mode = torch.where(draws[1] < config.condition.null, NULL, mode)
        condition = torch.where((kind == TARGET)[:, None, None], target, predicted)
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        sigma = torch.sigmoid(torch.randn(len(clean), generator=generator)).to(clean.device)
        blend = sigma[:, None, None]
        noisy = (1 - blend) * clean + blend * noise
        with self.accelerator.autocast():
            guess = self.network(noisy, sigma, places, condition, mode, kind).float()
        # The squared error of the velocity, written on clean pixels.
        weight = sigma.clamp_min(config.optimization.min_sigma) ** -2
        per_block = weight * (guess - clean).square().mean((1, 2))
        loss = per_block.mean()
        self.folder.check(loss, step)
        rate = self._rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), config.optimization.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.bare.parameters())
        with torch.no_grad():
            shown = {
                "loss": loss,
                "loss_tokens": per_block[(mode == TOKENS) & (kind == PREDICTED)].mean(),
                "loss_null": per_block[mode == NULL].mean(),
                "grad_norm": norm,
            }
        return {**{k: float(v.detach()) for k, v in shown.items()}, "lr": rate}

    def _rate(self, step: int) -> float:
        o = self.config.optimization
        share = max(0.0, (step - o.warmup) / max(1, o.steps - o.warmup))
        return o.lr * min(1.0, (step + 1) / o.warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    # ------------------------------------------------------------------ the run

    def run(self, max_minutes: float | None = None) -> Path:
        """Train to the last step, or for ``max_minutes`` of this call; returns the checkpoint."""
        config, first = self.config, self.step
        started = last_save = time.monotonic()
        before = self.seconds
        main = self.accelerator.is_main_process
        if main:
            self.folder.start(strict_config.dump(config), self.step)
        bar = tqdm(total=config.optimization.steps, initial=first, unit="step", disable=not main, mininterval=1.0)
        blocks = config.optimization.batch_size * config.hole.targets
        while self.step < config.optimization.steps:
            numbers = self.update(self.step)
            self.step += 1
            now = time.monotonic()
            self.seconds = before + now - started
            bar.update()
            bar.set_postfix(loss=f"{numbers['loss']:.3f}")
            out_of_time = max_minutes is not None and now - started > 60 * max_minutes
            last = out_of_time or self.step == config.optimization.steps
            if main and (last or self.step % config.run.log_every == 0):
                speed = (self.step - first) * blocks / (now - started)
                row = {"step": self.step, "minutes": self.seconds / 60, **numbers, "blocks_per_s": speed}
                self.folder.log(row)
            if main and (last or now - last_save > 60 * config.run.save_every_minutes):
                self.folder.save(self.step, self._write)
                last_save = time.monotonic()
            if out_of_time:
                break
        bar.close()
        self.accelerator.wait_for_everyone()
        return self.folder.checkpoints()[-1]

    def _write(self, folder: Path) -> None:
        """The averaged weights as a decoder's folder, a sheet of its samples, and ``trainer.pt``."""
        state = {
            "network": self.bare.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, folder / "trainer.pt")
        self.ema.store(self.bare.parameters())
        self.ema.copy_to(self.bare.parameters())
        save_decoder(self.bare, folder)
        self.ema.restore(self.bare.parameters())
        self._sheet(load_decoder(folder)).savefig(folder / "samples.png", dpi=80)

    def _sheet(self, decoder: Decoder) -> Figure:
        """Four pictures of the training set, their holes, and samples of what is predicted there."""
        images, masks, _ = self.batch(self.config.optimization.steps + 1000)
        rows = []
        for i in range(4):
            hidden = torch.zeros(masks.num_patches, dtype=torch.bool)
            hidden[masks.targets[i, 0].cpu()] = True
            one = Masks.from_array(hidden.view(self.ijepa.grid))
            prediction = predict(self.ijepa, denormalise(images[i]).cpu().clamp(0, 1), one)
            rows.append((prediction, decoder.sample(prediction, samples=4)))
        return completion_grid(rows)
