"""Pretraining: batches, the optimizer step, evaluation and checkpoints, and nothing about the loss.

Every batch, crop and mask is a function of (seed, step) and is drawn for the whole batch, so a resumed run sees what
an uninterrupted one would have seen, and N processes together what one would.
"""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ijepa_viz import masks as mask_samplers
from ijepa_viz.checkpoints import load_model
from ijepa_viz.checkpoints.training_cost import TrainingCost, write_training
from ijepa_viz.data import transforms
from ijepa_viz.data.batches import Prefetcher, identity, open_images, other_pictures
from ijepa_viz.data.opening import open_source
from ijepa_viz.data.overlap import drop_shared, refuse_overlap
from ijepa_viz.data.source import Source
from ijepa_viz.data.splits import match_classes
from ijepa_viz.data.unreadable import drop_unreadable
from ijepa_viz.masks.moving import keep_moving, motion
from ijepa_viz.models import Encoder, set_activation_checkpointing
from ijepa_viz.models.attention import choose_kernels
from ijepa_viz.probes.features import labelled, pooled_features, thumbnail_features
from ijepa_viz.probes.knn import knn_accuracy
from ijepa_viz.runtime.loop import Due, TrainingLoop
from ijepa_viz.runtime.precision import number_format
from ijepa_viz.runtime.run_folder import HISTORY, batch_indices
from train import monitor, objectives, schedules, sharding
from train.config import TrainConfig, sample_masks
from train.cues import TrainingCues
from train.encoded import Drawn, EncodedBatches, check_frozen
from train.objectives.predictor import Encoded, PredictorObjective
from train.optimizer import adamw
from train.planning.cost import flops_per_image, hardware

_COLUMNS = ["step", "images", "minutes", "loss", "grad_norm", "lr", "weight_decay", "momentum", "images_per_s"]
_KNN = ["knn", "knn_random_init", "knn_thumbnail"]


class Trainer(TrainingLoop):
    """One run: build it, then :meth:`run` it.

    Args:
        config: of the run.
        resume: go on from the newest checkpoint. resume_anyway: also with other settings or data than it had.

    Raises:
        FileExistsError: the run's folder is in use, or holds checkpoints and ``resume`` is False.
        FileNotFoundError: ``resume`` is True and there is no checkpoint.
        ValueError: settings or data that are not those of the run to be resumed; fewer images than a batch; images
            of ``data.eval_source`` that are also in ``data.source``, or are without labels.
    """

    UNSAID = (
        *TrainingLoop.UNSAID,
        "run.keep_every",
        "run.monitor_*",
        "run.eval_every_minutes",
        "data.workers",
        "data.strict",
    )
    SAID = (
        *TrainingLoop.SAID,
        "run.fsdp",
        "optimization.schedule_steps",
        "optimization.accumulate",
        "optimization.activation_checkpointing",
        "data.eval_*",
        "data.drop_shared",
        "start_from",
    )

    def __init__(self, config: TrainConfig, resume: bool = False, resume_anyway: bool = False) -> None:
        schedules.learning_rate(config.optimization.steps, config.optimization)  # an unknown schedule is found here
        if config.run.keep_every < 0:
            raise ValueError(f"run.keep_every is a number of steps, or 0 for none, got {config.run.keep_every}.")
        with torch.device("meta"):  # errors of the config, and the columns, before anything takes long
            planned = objectives.build(config)
        sample_masks(config, 1, torch.Generator())  # and those of the masks, before there is a folder
        check_frozen(config, planned.frozen_encoders)
        super().__init__(
            config,
            columns=[*_COLUMNS, *planned.columns, *monitor.COLUMNS, *_KNN],
            steps=config.optimization.steps,
            examples_per_step=config.optimization.batch_size,
            unit="images",
            resume=resume,
            timers={"evaluate": config.run.eval_every_minutes} if config.data.eval_source else None,
            shown=("loss", "cosine"),
            resume_anyway=resume_anyway,
        )
        with self.lock.released_on_error():
            self._prepare(self.folder.resume_from)

    def _prepare(self, found: Path | None) -> None:
        config = self.config
        self._check_parts()
        state = torch.load(found / "trainer.pt", weights_only=True, map_location="cpu") if found else None
        if state is not None:
            assert found is not None
            by_content = ["data.source"] if "data" in state else []
            self.refuse_changes(self.compare_settings(state["config"], found, by_content))
        self._open_data(state)
        torch.manual_seed(config.run.seed)
        self.net = objectives.build(config)
        self.model = self.net.model
        self.random_init = Encoder(self.model.config)
        self.random_init.load_state_dict(self.model.target_encoder.state_dict())
        if found:
            self.net.load(found)
        elif config.start_from:
            self.net.copy_weights(load_model(config.start_from), config.start_from)
        self._prepare_networks()
        optimizer = adamw(self.net, config.optimization.lr, self.accelerator.device)
        self.best = -1.0
        self.baselines: dict[str, float] = {}
        if config.run.fsdp:
            self.objective, self.optimizer = self.net, self.accelerator.prepare(optimizer)
        else:
            self.objective, self.optimizer = self.accelerator.prepare(self.net, optimizer)
        if state is not None:
            self._restore(state)
        self.monitor = monitor.Monitor(self.pictures.squares(config.run.monitor_images))
        self.encoded = None
        if isinstance(self.net, PredictorObjective) and config.data.cached_batches:
            self.encoded = EncodedBatches(config, self.net, self._drawn, self.accelerator.autocast)
            seen = config.data.cached_batches * config.optimization.batch_size
            if seen < len(self.source) and self.accelerator.is_main_process:
                print(f"{seen} of {len(self.source)} examples are used: data.cached_batches is that.", file=sys.stderr)
        self._take = Prefetcher(self.batch, self.accelerator.device)

    def _restore(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(sharding.shard_optimizer_state(self.optimizer, state["optimizer"]))
        self.step, self.seconds = state["step"], state["seconds"]
        # The best kNN of other test images is no measure of these.
        before = {key: value for key, value in state["config"]["data"].items() if _is_of_evaluation(key)}
        now = {key: value for key, value in asdict(self.config)["data"].items() if _is_of_evaluation(key)}
        self.best = state["best"] if now.items() >= before.items() else -1.0
        # Older checkpoints did not count these.
        self.examples = state.get("images", self.step * state["config"]["optimization"]["batch_size"])
        self.device_seconds = state.get("device_seconds", self.seconds * self.accelerator.num_processes)

    def _open_data(self, state: dict[str, Any] | None) -> None:
        """Open the training images and those of kNN, and refuse those that cannot be used together, or resumed with."""
        config, data = self.config, self.config.data
        # One process a machine reads, checks and caches; the others then find it done.
        with self.accelerator.local_main_process_first():
            self.source, self.skipped = drop_unreadable(open_source(data.source), data.strict)
            batch_indices(len(self.source), config.optimization.batch_size, 0, config.run.seed)  # enough for a batch?
            self.identity = identity(self.source)
            if state is not None and state.get("data", self.identity) != self.identity:
                self.refuse_changes([other_pictures(state["data"], self.identity, data.source)])
            self.test_source = self._open_test_data() if data.eval_source else None
            self.cues = TrainingCues(self.source, config) if config.model.cue_tokens else None
            self.pictures = open_images(
                self.source, config.model.image_size, data.keep, data.workers, config.model.frames
            )
        if self.skipped and self.accelerator.is_main_process:
            where = self.folder.path / "skipped.csv"
            print(f"Skipped {len(self.skipped)} pictures that cannot be read; {where} lists them.", file=sys.stderr)

    def _open_test_data(self) -> Source:
        data = self.config.data
        assert data.eval_source is not None
        test, _ = drop_unreadable(open_source(data.eval_source, "test"), data.strict)
        for source in (self.source, test):
            if source.labels is None:
                raise ValueError(
                    f"kNN needs labels, and {source.name} has none. Set data.eval_source=null to skip kNN."
                )
        test, _ = match_classes(self.source, test)
        if data.drop_shared:
            return drop_shared(self.source, test)[0]
        refuse_overlap(self.source, test)
        return test

    def _check_parts(self) -> None:
        """Raise ValueError unless the batch divides among processes and accumulated parts."""
        optimization, processes = self.config.optimization, self.accelerator.num_processes
        parts = processes * optimization.accumulate
        if optimization.accumulate < 1 or optimization.batch_size % parts:
            raise ValueError(
                f"optimization.batch_size {optimization.batch_size} does not divide among {processes} processes with "
                f"{optimization.accumulate} parts each (optimization.accumulate)."
            )

    def _prepare_networks(self) -> None:
        """Move or shard the networks, choose attention kernels, enable activation checkpointing and compilation."""
        config, device = self.config, self.accelerator.device
        if config.run.fsdp:
            if config.run.compile:
                raise ValueError("run.compile and run.fsdp exclude each other: set one of them to false.")
            sharding.shard(self.net, device, self.accelerator.num_processes, self.precision)
        else:
            self.net.to(device)
        choose_kernels(self.net, device, number_format(self.precision))
        set_activation_checkpointing(self.net, config.optimization.activation_checkpointing)
        if config.run.compile:
            for network in (self.model.encoder, self.model.target_encoder, self.model.predictor):
                if network is not None:
                    network.compile(dynamic=True)

    # ------------------------------------------------------------------ one step

    def batch(self, step: int) -> tuple[Tensor | Encoded, mask_samplers.Masks, Tensor | None, torch.Generator]:
        """This process's share of step ``step``: (b, 3, H, W) normalised images, masks, cues, and what drew them.

        Of films (b, T, 3, H, W); encoded already with ``data.cached_batches``. Cues are (b, L) word ids, None where
        the model takes none.
        """
        size, share = self.config.optimization.batch_size, self._share
        chosen, images, masks, moves, generator = self._drawn(step) if self.encoded is None else self.encoded(step)
        dropped = None if self.cues is None else self.cues.draw_dropped(size, generator)
        moving = self.config.mask.moving_targets
        if moves is not None and moving is not None:
            draws = torch.rand(size, masks.targets.shape[2], generator=generator)
            masks = keep_moving(masks, moves, moving, draws[share])
        device = self.accelerator.device
        cues = None
        if self.cues is not None and dropped is not None:
            cues = self.cues(chosen[share], dropped[share]).to(device)
        return images, masks.to(device), cues, generator

    @cached_property
    def _share(self) -> slice:
        """This process's rows of a batch."""
        count = self.config.optimization.batch_size // self.accelerator.num_processes
        first = self.accelerator.process_index * count
        return slice(first, first + count)

    def _drawn(self, number: int) -> Drawn:
        """Draw batch ``number``: its pictures, this process's crops and masks with all targets."""
        config, device = self.config, self.accelerator.device
        size = config.optimization.batch_size
        chosen = batch_indices(len(self.source), size, number, config.run.seed)
        generator = torch.Generator().manual_seed(config.run.seed * 1_000_003 + number)
        crops = transforms.Crops.draw(
            size,
            generator,
            scale=config.data.crop_scale,
            ratio=config.data.crop_ratio,
            flip=config.data.horizontal_flip,
        )
        masks = sample_masks(config, size, generator, all_targets=True)[self._share]
        images = transforms.normalise(self.pictures.crops(chosen[self._share], crops[self._share], device))
        moves = None
        if config.mask.moving_targets is not None:
            moves = motion(images, config.model.grid, config.model.steps).cpu()
        return Drawn(chosen, images, masks, moves, generator)

    def update(self, step: int) -> dict[str, float]:
        """One optimizer step, then one of the target encoder's EMA. Returns the log's numbers, averaged over processes.

        Where the monitor's turn comes, ``update_ratio`` is among them: the step's length as a share of the weights.
        """
        optimization = self.config.optimization
        rate = schedules.learning_rate(step, optimization)
        decay = schedules.weight_decay(step, optimization)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            group["weight_decay"] = decay if group["decays"] else 0.0
        images, masks, cues, generator = self._take(step)
        parts = optimization.accumulate
        size = len(images) // parts
        reports = []
        for part in range(parts):
            rows = slice(part * size, (part + 1) * size)
            last = part == parts - 1
            # Gradients are exchanged once a step, with the last part.
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.objective):
                with self.accelerator.autocast():
                    words = {} if cues is None else {"cues": cues[rows]}
                    report = self.objective(images[rows], masks[rows], generator, **words)
                self.folder.check(report["loss"], step)
                self.accelerator.backward(report["loss"] / parts)
            reports.append(torch.stack([value.detach().float() for value in report.values()]))
        limit = optimization.clip_grad or float("inf")
        norm = sharding.full_tensors(self.accelerator.clip_grad_norm_(self.objective.parameters(), limit))
        weights = monitor.flat_weights(self.model.encoder) if self._is_monitored(step) else None
        self.optimizer.step()
        self.optimizer.zero_grad()
        momentum = schedules.momentum(step, optimization)
        self.net.after_step(momentum)
        values = self.accelerator.reduce(torch.stack(reports).mean(0), "mean").tolist()
        numbers = dict(zip(report, values, strict=True))
        if weights is not None:
            squares = torch.stack(
                [(monitor.flat_weights(self.model.encoder) - weights).square().sum(), weights.square().sum()]
            )
            if self.config.run.fsdp:  # each process has its share of them
                squares = self.accelerator.reduce(squares.to(self.accelerator.device), "sum")
            numbers["update_ratio"] = float((squares[0] / squares[1]).sqrt())
        return {**numbers, "grad_norm": float(norm), "lr": rate, "weight_decay": decay, "momentum": momentum}

    def _is_monitored(self, step: int) -> bool:
        """Whether the features are looked at after ``step``: by the main process, with shards by all of them."""
        here = self.accelerator.is_main_process or self.config.run.fsdp
        return here and (step == 0 or (step + 1) % self.config.run.monitor_every == 0)

    # ------------------------------------------------------------------ after a step

    def start(self) -> None:
        """As :meth:`TrainingLoop.start`; lists the pictures that cannot be read."""
        super().start()
        if self.skipped:
            self.folder.write("skipped.csv", _as_csv(self.skipped))
        if self.config.run.keep_every and self.step == 0 and not self.config.run.fsdp:
            self._keep(self.net)

    def finish_step(self, numbers: dict[str, float], due: Due) -> None:
        """Evaluate kNN and the features' statistics, log, save, and keep the best model by kNN."""
        config, main = self.config, self.accelerator.is_main_process
        evaluating = bool(config.data.eval_source) and (due.last or "evaluate" in due.timers) and not due.interrupted
        monitoring = (due.last or self._is_monitored(self.step - 1)) and not due.interrupted
        keeping = bool(config.run.keep_every) and self.step % config.run.keep_every == 0 and not due.interrupted
        net = self._whole() if evaluating or monitoring or keeping or due.save else None
        if main and net is not None and evaluating:
            numbers |= self.evaluate(net)
        if main and net is not None and monitoring:
            numbers |= self.monitor.look(net.model.target_encoder)
        if self.step % config.run.log_every == 0 or "knn" in numbers or "rankme" in numbers:
            self.log({"images": self.examples, **numbers})
        # Before the checkpoint, which holds the best reading: a resumed run would keep a worse one after it.
        if net is not None and not due.stop and numbers.get("knn", -1.0) > self.best:
            self.best = numbers["knn"]
            self.folder.keep("best", partial(self._write_model, net))
        if main and net is not None and keeping:
            self._keep(net)
        if net is not None and due.save:
            self.save(net)

    def _keep(self, net: objectives.Objective) -> None:
        """Write the model to the run's history, where no later one replaces it."""
        self.folder.keep(f"{HISTORY}/step-{self.step:08d}", partial(self._write_model, net))

    def _whole(self) -> objectives.Objective:
        """The objective with whole weights, gathered on the main process where they are sharded: all must call it."""
        if not self.config.run.fsdp:
            return self.net
        weights = sharding.full_tensors(self.net.state_dict())
        with torch.device("meta"):
            found = objectives.build(self.config)
        if self.accelerator.is_main_process:
            found.load_state_dict(weights, assign=True)
        return found

    def evaluate(self, net: objectives.Objective) -> dict[str, float]:
        """kNN-20 of the target encoder on pictures never trained on, beside its two baselines."""
        data = self.config.data
        assert self.test_source is not None
        size = self.config.model.image_size
        if not self.baselines:
            self.train_set = labelled(self.source, size, data.eval_train)
            self.test_set = labelled(self.test_source, size, data.eval_test)
            self.baselines = {
                "knn_random_init": self._knn(lambda x: pooled_features(self.random_init, x)),
                "knn_thumbnail": self._knn(thumbnail_features),
            }
        return {"knn": self._knn(lambda x: pooled_features(net.model.target_encoder, x)), **self.baselines}

    def _knn(self, features: Callable[[Tensor], Tensor]) -> float:
        (train, train_labels), (test, test_labels) = self.train_set, self.test_set
        return knn_accuracy(features(train), train_labels, features(test), test_labels)

    def save(self, net: objectives.Objective) -> None:
        """Write a checkpoint: the model's folder with ``trainer.pt`` in it. Processes with shards must all call it."""
        state = sharding.full_tensors(self.optimizer.state_dict())
        if self.accelerator.is_main_process:
            self.folder.save(self.step, partial(self._write, net, state))

    @cached_property
    def _flops_per_image(self) -> float:
        return flops_per_image(self.config)

    def _write_model(self, net: objectives.Objective, folder: Path) -> None:
        """The model and what it has cost so far; of a run with ``start_from``, this run's share only."""
        net.save(folder)
        hours = self.device_seconds / 3600
        flops = self._flops_per_image * self.examples
        write_training(folder, TrainingCost(self.config.objective.name, self.examples, hours, flops, hardware()))

    def _write(self, net: objectives.Objective, optimizer: dict[str, Any], folder: Path) -> None:
        self._write_model(net, folder)
        state = {
            "optimizer": optimizer,
            "step": self.step,
            "seconds": self.seconds,
            "images": self.examples,
            "device_seconds": self.device_seconds,
            "best": self.best,
            "data": self.identity,
            "config": asdict(self.config),
        }
        torch.save(state, folder / "trainer.pt")


def _as_csv(skipped: dict[int, str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("picture", "why"), *skipped.items()])
    return out.getvalue().encode()


def _is_of_evaluation(key: str) -> bool:
    return key.startswith("eval_") or key == "drop_shared"
