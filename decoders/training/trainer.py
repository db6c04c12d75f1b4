"""Training a decoder of the family on a frozen I-JEPA: by flow matching or squared error, or in closed form."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers.training_utils import EMAModel
from torch import Tensor

from decoders.blocks import Blocks
from decoders.config import DecoderTrainConfig
from decoders.decoder import Decoder, DecoderConfig
from decoders.loading import load_decoder, save_decoder
from decoders.networks.network import NETWORKS, BlockNetwork, ClosedForm, Conditioning, TokenSource, build_network
from decoders.sampling import DEFAULT_SOLVER, SOLVERS, check_temperature, resample_tokens, same_scheduler
from decoders.shared_pixels import by_step, is_of_a_relative
from decoders.training.batches import BlockSource
from ijepa_viz.checkpoints import load_model
from ijepa_viz.data.batches import other_pictures
from ijepa_viz.data.transforms import denormalise, to_pil
from ijepa_viz.figures import completion_grid, film_grid, png
from ijepa_viz.figures.figure import Figure
from ijepa_viz.film_prediction import predict_film
from ijepa_viz.masks import Masks
from ijepa_viz.models.attention import choose_kernels
from ijepa_viz.prediction import check_pair, predict
from ijepa_viz.runtime.files import read_text, write_file
from ijepa_viz.runtime.loop import Due, TrainingLoop
from ijepa_viz.runtime.precision import number_format
from ijepa_viz.runtime.progress import track
from ijepa_viz.runtime.tensors import fingerprint

_COLUMNS = ["step", "minutes", "loss", "loss_tokens", "loss_null", "grad_norm", "lr", "blocks_per_s"]


class DecoderTrainer(TrainingLoop):
    """One run: build it, then :meth:`run` it.

    Args:
        config: of the run.
        resume: go on from the newest checkpoint. resume_anyway: also with other settings, data or another I-JEPA.

    Raises:
        ValueError: an unknown decoder or option, an I-JEPA without a predictor, a decoder of other sizes to start
            from, a batch that does not divide among the processes, or settings, data or an I-JEPA that are not those
            of the run to be resumed.
        OSError: the folder is in use; as ``RunFolder`` and ``load_model``.
    """

    UNSAID = (*TrainingLoop.UNSAID, "data.workers", "data.cache_folder")
    SAID = (*TrainingLoop.SAID, "start_from", "sampling.*")

    def __init__(self, config: DecoderTrainConfig, resume: bool = False, resume_anyway: bool = False) -> None:
        super().__init__(
            config,
            columns=_COLUMNS,
            steps=config.optimization.steps,
            examples_per_step=config.optimization.batch_size * config.hole.targets,
            unit="blocks",
            resume=resume,
            resume_anyway=resume_anyway,
        )
        with self.lock.released_on_error():
            self._prepare(self.folder.resume_from)

    def _prepare(self, found: Path | None) -> None:
        config = self.config
        state: dict[str, Any] | None = None
        if found and (found / "trainer.pt").is_file():  # a closed form has none
            state = torch.load(found / "trainer.pt", weights_only=True, map_location="cpu")
            # The I-JEPA is compared by its weights, the data by their content, where the checkpoint has it.
            ignored = ["ijepa"] + (["data.source"] if "data" in state else [])
            self.refuse_changes(self.compare_settings(self._saved_settings(state), found, ignored))
        self.ijepa = load_model(config.ijepa, self.accelerator.device).eval().requires_grad_(False)
        choose_kernels(self.ijepa, self.accelerator.device, number_format(self.precision))
        torch.manual_seed(config.run.seed)
        sizes = self.ijepa.config
        if not NETWORKS[config.network.name].trained:
            raise ValueError(
                f"{config.network.name} has nothing to train: it draws by a decoder of pictures. Train the network "
                "that decides, network.name=token-vit, with pixel_decoder=NAME."
            )
        self.bare = build_network(
            config.network.name,
            sizes.grid,
            config.data.patch_size or sizes.patch_size,
            sizes.width,
            config.network.options,
            steps=sizes.steps,
            tubelet=sizes.tubelet,
        ).to(self.accelerator.device)
        if isinstance(self.bare, ClosedForm) and config.run.compile:
            raise ValueError(f"A {config.network.name} decoder is solved at once: run.compile=true has no use.")
        self.metadata = DecoderConfig(
            ijepa=Path(config.ijepa).name, ijepa_sha256=fingerprint(self.ijepa), conditioning=config.conditioning
        )
        self.token_scheduler: Any = None
        self.pixel_decoder = self._open_pixel_decoder()
        self.token_network = self._open_token_network()
        if self.pixel_decoder is not None:
            its = self.pixel_decoder.config
            self.metadata = replace(self.metadata, steps=its.steps, detail=its.detail)
        self.metadata = replace(self.metadata, **self._tested_defaults())
        # After what a config can get wrong: looking through the pictures takes minutes.
        place = self.accelerator.process_index, self.accelerator.num_processes
        # One process a machine reads, checks and caches; the others then find it done.
        with self.accelerator.local_main_process_first():
            self.source = BlockSource(config, self.ijepa, self.folder.path, *place)
        if isinstance(self.bare, ClosedForm):
            if found:
                raise ValueError(f"A {config.network.name} decoder is solved at once: there is nothing to resume.")
            if self.accelerator.num_processes > 1:
                raise ValueError(f"A {config.network.name} decoder is solved at once, by one process: start only one.")
            self.source.measure(self.bare, self.accelerator)
            return
        optimization = config.optimization
        self.ema = EMAModel(self.bare.parameters(), decay=optimization.ema, use_ema_warmup=True, power=0.75)
        optimizer = torch.optim.AdamW(
            self.bare.parameters(), optimization.lr, (0.9, 0.95), weight_decay=optimization.weight_decay
        )
        if found and state is not None:
            self._refuse_other_inputs(state, found)
            self.bare.load_state_dict(state["network"])
            self.ema.load_state_dict(state["ema"])
            optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
        else:
            if config.start_from:
                self._adopt(config.start_from)
            self.source.measure(self.bare, self.accelerator)
        self.ema.to(self.accelerator.device)
        self.network, self.optimizer = self.accelerator.prepare(self.bare, optimizer)
        if config.run.compile:  # ``bare`` is the eager one, which draws the sheets
            self.network = torch.compile(self.network, dynamic=True)

    def _tested_defaults(self) -> dict[str, Any]:
        """What ``sampling`` names, checked.

        Raises:
            ValueError: a number of steps below 1, settings of tokens without a token network, an unknown solver, a
                temperature that is not positive, or a detail beyond 0 to 1.
        """
        chosen = {name: value for name, value in vars(self.config.sampling).items() if value is not None}
        for name in ("steps", "token_steps"):
            if chosen.get(name, 1) < 1:
                raise ValueError(f"sampling.{name} must be at least 1, got {chosen[name]}.")
        for name in ("token_steps", "token_solver", "token_temperature"):
            if name in chosen and self.pixel_decoder is None and self.token_network is None:
                raise ValueError(
                    f"sampling.{name} is for decoders of two stages: name a pixel_decoder or a token_decoder, or leave "
                    "it out."
                )
        solver = chosen.pop("token_solver", None)
        if solver is not None:
            self.token_scheduler = SOLVERS[solver]()
        check_temperature(chosen.get("token_temperature", 1))
        if not 0 <= chosen.get("detail", 0) <= 1:
            raise ValueError(f"sampling.detail is a noise level from 0 to 1, got {chosen['detail']}.")
        return chosen

    def _saved_settings(self, state: dict[str, Any]) -> dict[str, Any]:
        """The settings of a checkpoint; before it held them itself, those in the run's folder."""
        return state.get("config") or yaml.safe_load(read_text(self.folder.path / "config.yaml"))

    def _refuse_other_inputs(self, state: dict[str, Any], found: Path) -> None:
        """Refuse to resume with an I-JEPA or pictures that are not those of the checkpoint."""
        changes = []
        if load_decoder(found).config.ijepa_sha256 != self.metadata.ijepa_sha256:
            changes.append(f"ijepa: {self.config.ijepa!r} has other weights than the I-JEPA before")
        if state.get("data", self.source.identity) != self.source.identity:
            changes.append(other_pictures(state["data"], self.source.identity, self.config.data.source))
        self.refuse_changes(changes)

    def _open_pixel_decoder(self) -> Decoder | None:
        """The decoder that draws what a token network samples; None for a network that draws pixels itself.

        Raises:
            ValueError: none or one too many is named, or it belongs to another I-JEPA.
        """
        name = self.config.pixel_decoder
        if (self.bare.draws == "tokens") != (name is not None):
            if name is None:
                raise ValueError(
                    f"{self.config.network.name} draws tokens: name the decoder that draws them as pixels, "
                    "pixel_decoder=NAME, such as a block-vit trained on the same I-JEPA."
                )
            raise ValueError(
                f"pixel_decoder is for networks that draw tokens, and {self.config.network.name} does not."
            )
        if name is None:
            return None
        decoder = load_decoder(name)
        if decoder.network.steps == 1 and (self.bare.steps > 1 or is_of_a_relative(decoder, self.ijepa)):
            return Decoder(by_step(name, self.ijepa), decoder.config, decoder.pipeline.scheduler)
        check_pair(self.ijepa, decoder)
        return decoder

    def _open_token_network(self) -> BlockNetwork | None:
        """The frozen network whose samples the trained one draws; None for one stage.

        Raises:
            ValueError: it is missing, holds no token network, or belongs to another I-JEPA.
        """
        name, resampled = self.config.token_decoder, self.config.conditioning.resampled
        if not 0 <= resampled <= 1:
            raise ValueError(f"conditioning.resampled is a noise level from 0 to 1, got {resampled}.")
        if name is None:
            if resampled:
                raise ValueError(
                    "conditioning.resampled samples target tokens anew: name the decoder of two stages whose token "
                    "network does it, token_decoder=NAME."
                )
            return None
        if self.bare.draws != "pixels":
            raise ValueError(
                f"token_decoder is for networks that draw pixels, and {self.config.network.name} does not."
            )
        decoder = load_decoder(name)
        check_pair(self.ijepa, decoder)
        network = decoder.pipeline.token_network
        if network is None:
            raise ValueError(f"{name} has one stage: it holds no token network. Train one with network.name=token-vit.")
        own = decoder.config
        self.metadata = replace(self.metadata, token_steps=own.token_steps, token_temperature=own.token_temperature)
        its = decoder.pipeline.scheduler_of_tokens
        self.token_scheduler = None if same_scheduler(its, SOLVERS[DEFAULT_SOLVER]()) else its
        frozen: BlockNetwork = network.to(self.accelerator.device).requires_grad_(False)
        return frozen

    def _adopt(self, name: str) -> None:
        """Take over the weights of another decoder, perhaps of another grid; the scale of tokens is measured anew.

        Raises:
            ValueError: a decoder of another kind or of other sizes.
        """
        found = load_decoder(name)
        saved = found.network if self.bare.draws == "pixels" else found.pipeline.token_network
        sizes = {key: value for key, value in self.bare.config.items() if not key.startswith("_")}
        if saved is None:
            raise ValueError(f"{name} has one stage: it holds no token network to start from.")
        saved = saved.at(self.bare.grid)  # an I-JEPA at another resolution has another grid
        theirs = {key: value for key, value in saved.config.items() if not key.startswith("_")}
        if type(saved) is not type(self.bare) or theirs != sizes:
            raise ValueError(
                f"{name} holds another decoder ({type(saved).__name__} {theirs}) than the config's "
                f"({type(self.bare).__name__} {sizes})."
            )
        self.bare.load_state_dict(saved.state_dict())

    # ------------------------------------------------------------------ one step

    def update(self, step: int) -> dict[str, float]:
        """One optimizer step; returns what the log shows."""
        config = self.config
        with self.accelerator.autocast():
            blocks = self.source.blocks(step)
        # Another stream than the one that drew the crops and holes.
        generator = self.source.generator(step + 500_000_000)
        conditioning, token_source = (self.source.mine(drawn) for drawn in self._draw_conditioning(generator))
        from_target = token_source == TokenSource.TARGET
        target = self._augmented(self._resampled(blocks, from_target, generator), generator)
        tokens = torch.where(from_target[:, None, None], target, blocks.predicted)
        with self.accelerator.autocast():
            per_block = self._error(blocks, tokens, conditioning, token_source, generator)
        loss = per_block.mean()
        whole = self._averages(per_block.detach(), conditioning, token_source)
        self.folder.check(whole["loss"], step)
        rate = self._rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), config.optimization.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.bare.parameters())
        return {**{name: float(value) for name, value in whole.items()}, "grad_norm": float(norm), "lr": rate}

    def _resampled(self, blocks: Blocks, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Target tokens (b, T, D) with ``conditioning.resampled``; only the ``chosen`` (b,) bool are computed."""
        largest = self.config.conditioning.resampled
        if not largest or self.token_network is None:
            return blocks.target
        levels = self.source.mine(largest * torch.rand(self.examples_per_step, generator=generator))
        noise = self.source.mine(torch.randn(self.examples_per_step, *blocks.target.shape[1:], generator=generator))
        parts = (noise, levels, blocks.patch_indices, blocks.predicted, blocks.target)
        own_noise, own_levels, indices, predicted, target = (part[chosen] for part in parts)
        found = blocks.target.clone()
        with self.accelerator.autocast():
            drawn = resample_tokens(self.token_network, own_noise, own_levels, indices, predicted, target)
        found[chosen] = drawn.to(found)
        return found

    def _augmented(self, target: Tensor, generator: torch.Generator) -> Tensor:
        """Target tokens (b, T, D) with ``conditioning.target_noise``."""
        largest = self.config.conditioning.target_noise
        if not largest:
            return target
        level = self.source.mine(largest * torch.rand(self.examples_per_step, 1, 1, generator=generator))
        noise = self.source.mine(torch.randn(self.examples_per_step, *target.shape[1:], generator=generator))
        return target + level * self.bare.feature_std[TokenSource.TARGET] * noise

    def _averages(self, per_block: Tensor, conditioning: Tensor, token_source: Tensor) -> dict[str, Tensor]:
        """Mean error over all processes: of all blocks, of those with predicted tokens, and of unconditional ones."""
        by_token = (conditioning == Conditioning.TOKENS) & (token_source == TokenSource.PREDICTED)
        groups = torch.stack([conditioning >= 0, by_token, conditioning == Conditioning.NULL])
        sums = self.accelerator.reduce(torch.stack([(groups * per_block).sum(1), groups.sum(1).to(per_block)]), "sum")
        return dict(zip(("loss", "loss_tokens", "loss_null"), sums[0] / sums[1], strict=True))

    def _draw_conditioning(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the conditioning and the token source of each block of all processes, (B,) int64 each."""
        shares = self.config.conditioning
        draws = torch.rand(2, self.examples_per_step, generator=generator)
        token_source = torch.where(draws[0] < shares.targets, TokenSource.TARGET, TokenSource.PREDICTED)
        pooled = draws[1] < shares.null + shares.pooled
        conditioning = torch.where(pooled, Conditioning.POOLED, Conditioning.TOKENS)
        return torch.where(draws[1] < shares.null, Conditioning.NULL, conditioning), token_source

    def _error(
        self,
        blocks: Blocks,
        tokens: Tensor,
        conditioning: Tensor,
        token_source: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """(b,): the squared error of the velocity, written on clean pixels; without noise, of the pixels."""
        clean = self.bare.clean_of(blocks.clean, blocks.target)
        if not self.bare.stochastic:
            guess = self.network(
                clean, clean.new_ones(len(clean)), blocks.patch_indices, tokens, conditioning, token_source
            )
            return (guess.float() - clean).square().mean((1, 2))
        noise = self.source.mine(torch.randn(self.examples_per_step, *clean.shape[1:], generator=generator))
        sigma = self.source.mine(self._noise_levels(self.examples_per_step, generator))
        blend = sigma[:, None, None]
        noisy = (1 - blend) * clean + blend * noise
        guess = self.network(noisy, sigma, blocks.patch_indices, tokens, conditioning, token_source)
        weight = sigma.clamp_min(self.config.optimization.min_sigma) ** -2
        return weight * (guess.float() - clean).square().mean((1, 2))

    def _noise_levels(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) in (0, 1], drawn by the shares of the config."""
        o = self.config.optimization
        sigma = torch.sigmoid(torch.randn(count, generator=generator) + o.logit_mean)
        even, which = torch.rand(2, count, generator=generator)
        sigma = torch.where(which < o.uniform_fraction + o.pure_noise_fraction, even.clamp_min(1e-3), sigma)
        return torch.where(which < o.pure_noise_fraction, 1.0, sigma)

    def _rate(self, step: int) -> float:
        o = self.config.optimization
        share = max(0.0, (step - o.warmup) / max(1, o.steps - o.warmup))
        return o.lr * min(1.0, (step + 1) / o.warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    # ------------------------------------------------------------------ after a step

    def finish_step(self, numbers: dict[str, float], due: Due) -> None:
        """Log and save."""
        if due.last or self.step % self.config.run.log_every == 0:
            self.log(numbers)
        if due.save and self.accelerator.is_main_process:
            self.folder.save(self.step, self._write)

    def run(self, max_minutes: float | None = None) -> Path:
        """As :meth:`TrainingLoop.run`; a closed-form decoder is solved for instead."""
        if not isinstance(self.bare, ClosedForm):
            return super().run(max_minutes)
        with self.locked():
            return self._solve(self.bare)

    def _solve(self, network: ClosedForm) -> Path:
        """Accumulate the batches of all steps, solve, and save."""
        self.start()
        for step in track(range(self.steps), "accumulating", "step"):
            blocks = self.source.blocks(step)
            for source, tokens in ((TokenSource.PREDICTED, blocks.predicted), (TokenSource.TARGET, blocks.target)):
                network.accumulate(blocks.patch_indices, tokens, source, blocks.clean)
        network.solve()
        return self.folder.save(self.config.optimization.steps, self._write_decoder)

    def _write(self, folder: Path) -> None:
        """The averaged weights as a decoder's folder, and ``trainer.pt``."""
        state = {
            "network": self.bare.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "data": self.source.identity,
            "config": asdict(self.config),
        }
        torch.save(state, folder / "trainer.pt")
        self.ema.store(self.bare.parameters())
        self.ema.copy_to(self.bare.parameters())
        self._write_decoder(folder)
        self.ema.restore(self.bare.parameters())
        self.bare.train()

    def _write_decoder(self, folder: Path) -> None:
        """A decoder's folder, and a sheet of its samples in the run's ``sheets/``, one a checkpoint."""
        decoder = self._as_decoder()
        save_decoder(decoder, folder)
        sheets = self.folder.path / "sheets"
        sheets.mkdir(exist_ok=True)
        write_file(sheets / f"step-{self.step:08d}.png", png(self._sheet(decoder)))

    def _as_decoder(self) -> Decoder:
        """The network as a decoder, with the one that draws its tokens where it samples tokens."""
        if self.pixel_decoder is None:
            return Decoder(self.bare, self.metadata, None, self.token_network, self.token_scheduler)
        pixels = self.pixel_decoder
        return Decoder(pixels.network, self.metadata, pixels.pipeline.scheduler, self.bare, self.token_scheduler)

    def _sheet(self, decoder: Decoder) -> Figure:
        """Four pictures of the training set, their holes, and samples of what is predicted there; or two films."""
        images, masks, pictures = self.source.pictures(self.config.optimization.steps + 1000)
        if masks.steps > 1:
            predictions = [
                predict_film(self.ijepa, denormalise(images[i]).cpu().clamp(0, 1), masks[i : i + 1])
                for i in range(min(2, len(images)))
            ]
            return film_grid([(one, decoder.sample(one, samples=2)) for one in predictions])
        rows = []
        for i in range(min(4, len(images))):
            hidden = torch.zeros(masks.num_patches, dtype=torch.bool)
            hidden[masks.targets[i, 0].cpu()] = True
            one = Masks.from_array(hidden.view(self.ijepa.grid))
            prediction = predict(self.ijepa, denormalise(images[i]).cpu().clamp(0, 1), one)
            if pictures is not None:
                prediction = replace(prediction, originals=(to_pil(pictures[i]),))
            rows.append((prediction, decoder.sample(prediction, samples=4)))
        return completion_grid(rows)
