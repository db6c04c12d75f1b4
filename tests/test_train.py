from __future__ import annotations

import csv
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ijepa_viz.checkpoints import PUBLISHED, bundled_names, load_model
from ijepa_viz.checkpoints.training_cost import training_of
from ijepa_viz.data.batches import ARRAY_LIMIT
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.folder_lock import FolderLock
from train import schedules
from train.__main__ import main
from train.config import OptimizationConfig, PretrainRunConfig, TrainConfig
from train.ema import ema_update
from train.objectives.objective import build
from train.trainer import Trainer

ROOT = Path(__file__).parent.parent

CONFIG = """
model: {image_size: 32, patch_size: 8, width: 32, depth: 2, heads: 2,
        predictor_width: 16, predictor_depth: 1, predictor_heads: 2}
data: {source: "menagerie:count=64", eval_source: "menagerie:count=40", eval_train: 40, eval_test: 20}
optimization: {steps: 12, batch_size: 8, warmup: 2, ema: [0.9, 0.99], clip_grad: 1.0}
regularizer: {name: variance-covariance, level: pooled}
run: {precision: fp32, log_every: 1}
"""


def config_file(tmp_path, text=CONFIG):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return str(path)


def rows(folder):
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def interrupt(command, folder, which):
    """Start a training, let it log some steps, send it a signal, and see that it saves and says so."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    log = folder / "log.csv"
    deadline = time.monotonic() + 120
    while not log.exists() or len(log.read_text().splitlines()) < 20:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(which)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert f"Interrupted by {which.name}" in said


def test_a_run_writes_a_model_a_log_and_its_config(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["--fname", config_file(tmp_path), f"run.folder={run}"]) == 0
    log = rows(run)
    assert [int(r["step"]) for r in log] == list(range(1, 13))
    assert all(math.isfinite(float(r["loss"])) for r in log)
    assert 0 <= float(log[-1]["knn"]) <= 1
    assert log[-1]["knn_random_init"]
    assert log[-1]["knn_thumbnail"]
    model = load_model(run / "step-00000012")
    assert model.config.width == 32
    names = [
        p.name for p in sorted(run.iterdir()) if not p.name.startswith("events.")
    ]  # TensorBoard's, where installed
    assert names == ["best", "config.yaml", "log.csv", "step-00000012"]
    again = config_files.load(TrainConfig, run / "config.yaml")
    assert again.optimization.steps == 12


def test_resuming_equals_not_stopping(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    config = config_file(tmp_path)
    fixed = ["--fname", config, "data.eval_source=null"]
    assert main([*fixed, f"run.folder={whole}"]) == 0
    assert main([*fixed, f"run.folder={parts}", "--max-minutes", "0"]) == 0  # one step
    assert len(rows(parts)) == 1
    assert main([*fixed, f"run.folder={parts}", "--resume"]) == 0
    assert len(rows(parts)) == 12
    assert [r["loss"] for r in rows(whole)] == [r["loss"] for r in rows(parts)]
    a, b = (load_model(f / "step-00000012").state_dict() for f in (whole, parts))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_goes_on_from_another_runs_weights(tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    fixed = ["--fname", config_file(tmp_path), "data.eval_source=null"]
    assert main([*fixed, f"run.folder={first}"]) == 0
    start = f"start_from={first / 'step-00000012'}"
    # No step is taken at a rate of nothing: what is saved is what was given.
    still = [f"optimization.{name}=0.0" for name in ("lr", "start_lr", "final_lr")]
    assert main([*fixed, f"run.folder={second}", start, *still, "optimization.ema=[1.0, 1.0]"]) == 0
    a, b = (load_model(f / "step-00000012").state_dict() for f in (first, second))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert main([*fixed, f"run.folder={tmp_path / 'third'}", start, "model.width=64"]) == 1
    assert "other sizes" in capsys.readouterr().err
    assert not (tmp_path / "third").exists()


def test_training_lowers_the_loss(tmp_path):
    # The paper's own objective, on one batch over and over with the teacher standing still.
    text = CONFIG.replace("steps: 12", "steps: 80").replace("ema: [0.9, 0.99]", "ema: [1.0, 1.0]")
    config = config_files.load(
        TrainConfig,
        config_file(tmp_path, text),
        ["data.eval_source=null", "regularizer.name=none", f"run.folder={tmp_path / 'run'}", "optimization.lr=3e-3"],
    )
    trainer = Trainer(config)
    fixed = trainer.batch(0)
    trainer.batch = lambda step: fixed  # type: ignore[method-assign]
    losses = [trainer.update(step)["loss"] for step in range(80)]
    assert losses[-1] < 0.5 * losses[0]


def test_an_ema_update_is_the_paper_s_formula(model):
    for parameter in model.encoder.parameters():
        parameter.data += 1
    before = [p.clone() for p in model.target_encoder.parameters()]
    ema_update(model, 0.9)
    for old, student, teacher in zip(
        before, model.encoder.parameters(), model.target_encoder.parameters(), strict=True
    ):
        assert torch.allclose(teacher, 0.9 * old + 0.1 * student, atol=1e-6)
    ema_update(model, 1.0)  # a momentum of 1 changes nothing, one of 0 copies the student
    for old, student, teacher in zip(
        before, model.encoder.parameters(), model.target_encoder.parameters(), strict=True
    ):
        assert torch.allclose(teacher, 0.9 * old + 0.1 * student, atol=1e-6)
    ema_update(model, 0.0)
    for student, teacher in zip(model.encoder.parameters(), model.target_encoder.parameters(), strict=True):
        assert torch.equal(teacher, student)


def published_schedules(lr, start_lr, final_lr, wd, final_wd, ema, warmup, steps):
    """Learning rate, weight decay and momentum of every update of the published loop, written as a loop.

    Its two schedulers count before they compute, and are asked before the update; its momenta come from a generator
    that is asked after it.
    """
    momenta = (ema[0] + (ema[1] - ema[0]) * i / steps for i in range(steps + 1))
    for count in range(1, steps + 1):
        if count < warmup:
            rate = start_lr + count / warmup * (lr - start_lr)
        else:
            rate = final_lr + (lr - final_lr) * (1 + math.cos(math.pi * (count - warmup) / (steps - warmup))) / 2
        decay = final_wd + (wd - final_wd) * (1 + math.cos(math.pi * count / steps)) / 2
        yield rate, decay, next(momenta)


def test_schedules_are_those_of_the_published_loop_with_the_published_numbers():
    """ViT-H/14 on ImageNet-1k: 300 epochs of 625 steps, of which 40 warm up."""
    numbers = (1e-3, 2e-4, 1e-6, 0.04, 0.4, (0.996, 1.0), 40 * 625, 300 * 625)
    o = config_files.load(TrainConfig, ROOT / "train" / "configs" / "imagenet1k-vith14.yaml").optimization
    assert (o.lr, o.start_lr, o.final_lr, o.weight_decay, o.final_weight_decay, o.ema, o.warmup, o.steps) == numbers
    for step, (rate, decay, momentum) in enumerate(published_schedules(*numbers)):
        if step % 97 == 0 or step in (1, 24998, 24999, 25000, 187499):
            assert schedules.learning_rate(step, o) == pytest.approx(rate, rel=1e-9)
            assert schedules.weight_decay(step, o) == pytest.approx(decay, rel=1e-9)
            assert schedules.momentum(step, o) == pytest.approx(momentum, rel=1e-9)
    assert schedules.learning_rate(24999, o) == pytest.approx(1e-3)  # the peak is the warm-up's last update
    assert schedules.learning_rate(187499, o) == pytest.approx(1e-6)
    assert schedules.weight_decay(187499, o) == pytest.approx(0.4)


def test_the_first_update_has_the_rate_of_the_published_loop(tmp_path):
    run = tmp_path / "run"
    settings = ["data.eval_source=null", "optimization.steps=5", "optimization.warmup=4"]
    settings += ["optimization.start_lr=0.2", "optimization.lr=1", "optimization.ema=[0.5, 1.0]"]
    assert main(["--fname", config_file(tmp_path), f"run.folder={run}", *settings]) == 0
    log = rows(run)
    assert [float(r["lr"]) for r in log[:4]] == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert [float(r["momentum"]) for r in log] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])


def test_a_stable_schedule_keeps_its_rate_until_the_cooldown():
    o = OptimizationConfig(
        steps=1000, warmup=100, lr=1e-3, start_lr=2e-4, final_lr=0.0, schedule="stable", cooldown=200
    )
    # The rate of an update is the schedule's at its end.
    assert [schedules.learning_rate(s - 1, o) for s in (50, 100, 500, 800, 900, 1000)] == pytest.approx(
        [6e-4, 1e-3, 1e-3, 1e-3, 5e-4, 0]
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["optimization.lrr=1"], "Did you mean 'lr'"),
        (["optimisation.lr=1"], "Did you mean 'optimization'"),
        (["optimization.lr=fast"], "expected a number"),
        (["optimization.steps=1.5"], "expected int"),
        (["run.precision=fp8"], "auto, bf16 or fp32"),
        (["regularizer.name=vicreg"], "variance-covariance"),
        (["regularizer.level=patches"], "'tokens' or 'pooled'"),
        (["objective.name=ijeppa"], "Did you mean 'ijepa'"),
        (["objective.options.target_layer=1"], "Did you mean 'target_layers'"),
        (["objective.options.target_layers=3"], "target_layers must be 1 to 2"),
        (["objective.options.target_normalisation=layer"], "Did you mean 'layernorm'"),
        (["objective.name=mae"], "takes no regularizer"),
        (["model.predictor_width=0"], "needs a predictor"),
        (["optimization.schedule=linear"], "'cosine' or 'stable'"),
        (["optimization.batch_size=512"], "fewer than one batch"),
        (["data.source=nowhere"], "No data set"),
        (["mask.strategy=multiblok"], "Did you mean 'multiblock'"),
        (["--resume"], "Nothing to resume"),
    ],
)
def test_a_bad_config_is_named_and_writes_nothing(tmp_path, capsys, arguments, words):
    run = tmp_path / "run"
    assert main(["--fname", config_file(tmp_path), f"run.folder={run}", *arguments]) == 1
    assert words in capsys.readouterr().err
    assert not list(run.glob("step-*"))


def test_the_best_model_by_knn_is_kept(tmp_path, monkeypatch):
    # The kNN readings are set here; that the right weights are kept is what is tested.
    config = config_files.load(
        TrainConfig, config_file(tmp_path), [f"run.folder={tmp_path / 'run'}", "run.eval_every_minutes=0"]
    )
    trainer = Trainer(config)
    readings = iter([0.1, 0.5, 0.3, 0.2] + 8 * [0.4])
    kept = {}

    def evaluate(net):
        kept[len(kept) + 1] = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        return {"knn": next(readings)}

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    trainer.run()
    best = load_model(tmp_path / "run" / "best").state_dict()
    assert all(torch.equal(best[k], kept[2][k]) for k in best)
    last = load_model(tmp_path / "run" / "step-00000012").state_dict()
    assert any(not torch.equal(best[k], last[k]) for k in best)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (["optimization.steps=6"], 0.9),
        (["optimization.steps=6", "data.eval_source=menagerie:count=48,seed=2"], -1.0),
        (["optimization.steps=6", "data.eval_test=15"], -1.0),
        (["optimization.steps=6", "data.drop_shared=true"], -1.0),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else str(value),
)
def test_the_best_of_other_test_pictures_is_no_measure_of_these(tmp_path, monkeypatch, settings, kept):
    command = [f"run.folder={tmp_path / 'run'}", "optimization.steps=3"]
    first = Trainer(config_files.load(TrainConfig, config_file(tmp_path), command))
    monkeypatch.setattr(first, "evaluate", lambda net: {"knn": 0.9})
    first.run()
    assert torch.load(tmp_path / "run" / "step-00000003" / "trainer.pt", weights_only=True)["best"] == 0.9
    again = Trainer(config_files.load(TrainConfig, config_file(tmp_path), [*command, *settings]), resume=True)
    assert again.best == kept
    readings = {}
    monkeypatch.setattr(again, "evaluate", lambda net: {"knn": 0.5})
    monkeypatch.setattr(again.folder, "keep", lambda name, write: readings.setdefault(name, again.best))
    again.run()
    assert readings.get("best") == (0.5 if kept < 0.5 else None)


def test_one_process_trains_in_one_format_and_then_in_another(tmp_path):
    """As a notebook does."""
    for precision in ("fp32", "bf16", "fp32"):
        run = tmp_path / f"{precision}-{len(list(tmp_path.iterdir()))}"
        overrides = [f"run.folder={run}", f"run.precision={precision}", "optimization.steps=2"]
        trainer = Trainer(config_files.load(TrainConfig, config_file(tmp_path), overrides))
        assert trainer.accelerator.mixed_precision == ("bf16" if precision == "bf16" else "no")
        trainer.run()
        with trainer.accelerator.autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)


@pytest.mark.slow  # a minute of g++
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler: torch.compile has none to call")
@pytest.mark.parametrize("context", ["separate", "shared"])
def test_a_compiled_run_has_the_losses_of_an_eager_one(tmp_path, context):
    settings = ["data.eval_source=null", "run.monitor_every=1000", f"model.predictor_context={context}"]
    for compiled in ("false", "true"):
        folder = f"run.folder={tmp_path / compiled}"
        assert main(["--fname", config_file(tmp_path), folder, *settings, f"run.compile={compiled}"]) == 0
    eager, compiled = ([float(r["loss"]) for r in rows(tmp_path / name)] for name in ("false", "true"))
    assert compiled == pytest.approx(eager, rel=1e-3)
    assert load_model(tmp_path / "true" / "step-00000012").config.predictor_context == context


def test_a_run_is_not_overwritten(tmp_path, capsys):
    command = ["--fname", config_file(tmp_path), f"run.folder={tmp_path / 'run'}", "--max-minutes", "0"]
    assert main(command) == 0
    assert main(command) == 1
    assert "--resume" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_the_run(tmp_path, capsys):
    command = ["--fname", config_file(tmp_path), f"run.folder={tmp_path / 'run'}", "optimization.lr=1e30"]
    assert main([*command, "optimization.start_lr=1e30", "optimization.clip_grad=null"]) == 1
    assert "The loss is" in capsys.readouterr().err


_FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from ijepa_viz.runtime import config_files
from train.config import TrainConfig
from train.trainer import Trainer
trainer = Trainer(config_files.load(TrainConfig, sys.argv[1], sys.argv[2:]), resume=True)
trainer.update(trainer.step)
trainer.step += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # what a full disk looks like
try:
    trainer.save(trainer.net)
except OSError as error:
    print("refused:", error)
"""


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    run = tmp_path / "run"
    arguments = [config_file(tmp_path), f"run.folder={run}", "data.eval_source=null"]
    assert main(["--fname", *arguments, "--max-minutes", "0"]) == 0
    before = {p.name: p.read_bytes() for p in (run / "step-00000001").iterdir()}
    done = subprocess.run([sys.executable, "-c", _FULL_DISK, *arguments], capture_output=True, text=True, check=True)
    assert "refused: The checkpoint of step 2" in done.stdout
    assert [p.name for p in run.glob("step-*")] == ["step-00000001"]
    assert {p.name: p.read_bytes() for p in (run / "step-00000001").iterdir()} == before


@pytest.mark.parametrize("path", sorted((ROOT / "train" / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configs_can_be_built_and_name_themselves(path):
    config = config_files.load(TrainConfig, path)
    assert config.run.folder == f"runs/{path.stem}"
    with torch.device("meta"):  # sizes and names are checked, no memory is used
        net = build(config)
    assert net.model.config.image_size == config.model.image_size
    assert schedules.learning_rate(config.optimization.steps, config.optimization) < config.optimization.lr
    text = path.read_text()
    assert f"--fname train/configs/{path.name}" in text
    for quoted in re.findall(r"cached as centred squares at \d+ px: (\d+) GB", text.replace("\n# ", " ")):
        assert float(quoted) * 1e9 < ARRAY_LIMIT
    if "imagenet1k" in path.name:
        assert "decoded and cropped at full size" in text
    million = sum(p.numel() for p in net.model.encoder.parameters()) / 1e6
    for quoted in re.findall(r"([0-9.]+) M encoder parameters", text):
        assert float(quoted) == pytest.approx(million, abs=0.06)


@pytest.mark.parametrize("path", sorted((ROOT / "decoders" / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_decoder_configs_name_a_model_that_can_be_had(path):
    from decoders.config import DecoderTrainConfig
    from decoders.networks.network import NETWORKS

    config = config_files.load(DecoderTrainConfig, path)
    trained_here = (ROOT / "train" / "configs" / f"{config.ijepa}.yaml").is_file()
    assert config.ijepa in bundled_names() or config.ijepa in PUBLISHED or trained_here
    assert config.network.name in NETWORKS


def test_a_bare_null_as_a_key_is_named(tmp_path):
    from decoders.config import DecoderTrainConfig

    (tmp_path / "c.yaml").write_text("conditioning:\n  null: 0.1\n")
    with pytest.raises(ValueError, match="conditioning: YAML reads a key as None; put it in quotes"):
        config_files.load(DecoderTrainConfig, tmp_path / "c.yaml")


def test_batches_differ_between_steps_and_epochs(tmp_path):
    from ijepa_viz.runtime.run_folder import batch_indices

    epoch = [batch_indices(50, 10, s, 0) for s in range(5)]
    assert sorted(i for b in epoch for i in b) == list(range(50))
    assert any((a != b).any() for a, b in zip(epoch, [batch_indices(50, 10, s, 0) for s in range(5, 10)], strict=True))


def test_the_old_name_of_a_renamed_setting_is_read_and_both_names_are_refused(tmp_path):
    old = config_file(tmp_path, CONFIG.replace("steps: 12", "steps: 12, recompute: true"))
    assert config_files.load(TrainConfig, old).optimization.activation_checkpointing
    # An override wins over the file, whichever name either has.
    off = config_files.load(TrainConfig, old, ["optimization.activation_checkpointing=false"])
    assert not off.optimization.activation_checkpointing
    assert config_files.override(off, ["optimization.recompute=true"]).optimization.activation_checkpointing
    both = CONFIG.replace("steps: 12", "steps: 12, recompute: true, activation_checkpointing: true")
    with pytest.raises(ValueError, match="'recompute' is the old name of 'activation_checkpointing'"):
        config_files.load(TrainConfig, config_file(tmp_path, both))


# --------------------------------------------------------------------------- resuming, and what is not what it was


def _run_of_three_steps(tmp_path, *settings):
    command = ["--fname", config_file(tmp_path), f"run.folder={tmp_path / 'run'}", "data.eval_source=null", *settings]
    assert main([*command, "optimization.steps=3"]) == 0
    return command


def test_resuming_with_other_settings_names_them_and_asks(tmp_path, capsys):
    command = [*_run_of_three_steps(tmp_path), "optimization.steps=6"]
    other = ["optimization.batch_size=16", "run.seed=5", "mask.strategy=random", "data.source=menagerie:count=80"]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    capsys.readouterr()
    assert main([*command, *other, "--resume"]) == 1
    said = capsys.readouterr().err
    assert "optimization.batch_size: 8 before, 16 now" in said
    assert "run.seed: 0 before, 5 now" in said
    assert "mask.strategy: 'multiblock' before, 'random' now" in said
    assert "--resume-anyway" in said
    assert "another setting" not in said  # optimization.steps may be another, but the run does not go on
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before
    assert main([*command, *other, "--resume-anyway"]) == 0
    said = capsys.readouterr().err
    assert "optimization.batch_size: 8 before, 16 now" in said
    assert "data.source: 64 pictures before, 80 now ('menagerie:count=80')" in said
    # 3 batches of 8, then 3 of 16: what was seen, and not 6 of 16.
    assert [int(r["images"]) for r in rows(tmp_path / "run")] == [8, 16, 24, 40, 56, 72]
    last = tmp_path / "run" / "step-00000006"
    assert training_of(last).images == 72
    assert torch.load(last / "trainer.pt", weights_only=True)["images"] == 72
    assert main([*command, *other, "--resume"]) == 0  # these are now what it had
    assert "is finished: step 6 of 6" in capsys.readouterr().err


def test_resuming_with_harmless_settings_needs_no_more_than_a_line(tmp_path, capsys):
    command = _run_of_three_steps(tmp_path)
    other = ["optimization.steps=4", "run.log_every=2", "run.monitor_images=16", "data.workers=1", "run.log_with=none"]
    other += ["optimization.accumulate=2"]
    assert main([*command, *other, "--resume"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "another setting" in line]
    assert said == [
        "Resuming with another setting, optimization.steps: 3 before, 4 now.",
        "Resuming with another setting, optimization.accumulate: 1 before, 2 now.",
    ]


def _pictures(folder, count, seed=0):
    rng = np.random.default_rng(seed)
    for i in range(count):
        path = folder / f"{'ab'[2 * i // count]}" / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    return folder


def test_data_are_compared_by_content_when_a_run_is_resumed(tmp_path, capsys):
    here, there = _pictures(tmp_path / "here", 20), tmp_path / "there"
    command = [*_run_of_three_steps(tmp_path, f"data.source={here}"), "optimization.steps=5"]
    shutil.copytree(here, there, copy_function=shutil.copyfile)  # another place, other dates
    capsys.readouterr()
    assert main([*command, f"data.source={there}", "--resume", "--max-minutes", "0"]) == 0
    assert "data.source" not in capsys.readouterr().err
    _pictures(there, 20, seed=1)  # the same names
    assert main([*command, f"data.source={there}", "--resume"]) == 1
    assert "has other pictures than before, or in another order (20)" in capsys.readouterr().err
    assert main([*command, f"data.source={there}", "--resume-anyway"]) == 0


def test_a_checkpoint_without_counts_resumes_by_the_batch_size_that_it_had(tmp_path):
    command = _run_of_three_steps(tmp_path)
    path = tmp_path / "run" / "step-00000003" / "trainer.pt"
    state = torch.load(path, weights_only=True)
    for name in ("images", "device_seconds", "data"):
        del state[name]
    torch.save(state, path)
    assert main([*command, "optimization.steps=4", "optimization.batch_size=16", "--resume"]) == 1
    assert main([*command, "optimization.steps=4", "optimization.batch_size=16", "--resume-anyway"]) == 0
    assert int(rows(tmp_path / "run")[-1]["images"]) == 3 * 8 + 16


def test_a_second_training_in_a_folder_is_refused_before_it_opens_its_data(tmp_path, monkeypatch):
    config = config_files.load(TrainConfig, config_file(tmp_path), [f"run.folder={tmp_path / 'run'}"])
    first = Trainer(config)
    with monkeypatch.context() as patch:
        patch.setattr("train.trainer.open_source", lambda *_: pytest.fail("the data were opened"))
        with pytest.raises(FileExistsError, match="is in use"):
            Trainer(config)
    first.run(max_minutes=0)
    assert len(rows(tmp_path / "run")) == 1


@pytest.mark.slow
def test_all_processes_of_a_second_training_end(tmp_path):
    lock = FolderLock(tmp_path / "run")
    lock.acquire()
    command = [sys.executable, "-m", "train", "--fname", config_file(tmp_path), f"run.folder={tmp_path / 'run'}"]
    devices, threads = ["--devices", "cpu", "cpu"], {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *devices], capture_output=True, text=True, env=threads, timeout=120)
    assert done.returncode == 1
    assert f"is in use: process {os.getpid()} on" in done.stderr
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["run.lock"]
    lock.release()
    assert subprocess.run([*command, *devices], capture_output=True, env=threads, timeout=240).returncode == 0
    assert (tmp_path / "run" / "step-00000012").is_dir()
    assert not (tmp_path / "run" / "run.lock").exists()


def test_a_training_that_fails_at_its_start_frees_the_folder(tmp_path):
    path, folder = config_file(tmp_path), f"run.folder={tmp_path / 'run'}"
    with pytest.raises(ValueError, match="fewer than one batch"):
        Trainer(config_files.load(TrainConfig, path, [folder, "optimization.batch_size=65"]))
    assert not (tmp_path / "run").exists()
    Trainer(config_files.load(TrainConfig, path, [folder])).run(max_minutes=0)


# --------------------------------------------------------------------------- pictures to evaluate on


def test_pictures_that_are_trained_on_are_not_evaluated_on(tmp_path, capsys):
    folder = _pictures(tmp_path / "all", 24)
    other = _pictures(tmp_path / "other", 24, seed=1)
    shutil.copy(folder / "a" / "000.png", other / "a" / "copy.png")
    settings = ["--fname", config_file(tmp_path), f"data.source={folder}", "data.eval_test=24", "optimization.steps=1"]
    for i, (test, words) in enumerate(((folder, "24 of the 24 test pictures"), (other, "1 of the 25 test pictures"))):
        run = tmp_path / f"run-{i}"
        assert main([*settings, f"data.eval_source={test}", f"run.folder={run}"]) == 1
        assert words in capsys.readouterr().err
        assert not run.exists()
    run = tmp_path / "dropped"
    assert main([*settings, f"data.eval_source={other}", f"run.folder={run}", "data.drop_shared=true"]) == 0
    assert rows(run)[-1]["knn"]


def test_knn_needs_labels_before_anything_is_trained(tmp_path, capsys):
    bare = tmp_path / "bare"
    bare.mkdir()
    for i, path in enumerate(sorted(_pictures(tmp_path / "all", 10).rglob("*.png"))):
        shutil.copy(path, bare / f"{i}.png")
    command = ["--fname", config_file(tmp_path), f"run.folder={tmp_path / 'run'}", f"data.eval_source={bare}"]
    assert main(command) == 1
    assert "kNN needs labels" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_every_wrong_setting_is_named_with_its_origin(tmp_path, capsys):
    path = config_file(tmp_path, CONFIG.replace("width: 32, depth", "widht: 32, depth"))
    wrong = ["optimization.lrr=1", "steps=3", "run.seed=one", "data.sources=[1"]
    assert main(["--fname", path, *wrong]) == 1
    said = capsys.readouterr().err
    assert f"{path}: model: unknown key 'widht'. Did you mean 'width'?" in said
    assert "Override 'optimization.lrr=1': optimization: unknown key 'lrr'. Did you mean 'lr'?" in said
    assert "Override 'steps=3': unknown key 'steps'. Did you mean 'optimization.steps'?" in said
    assert "Override 'run.seed=one': run: seed: expected int, got 'one'." in said
    assert "Override 'data.sources=[1': the value is not valid YAML." in said
    assert said.count(path) == 1


def test_a_run_without_steps_is_refused_before_anything_is_written(tmp_path):
    folder = tmp_path / "run"
    none = TrainConfig(optimization=OptimizationConfig(steps=0), run=PretrainRunConfig(folder=str(folder)))
    with pytest.raises(ValueError, match="steps must be at least 1"):
        Trainer(none)
    assert not folder.exists()
