# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Three architectures, and what each calls compatible
#
# **Goal.** Tell joint-embedding, generative and joint-embedding predictive architectures apart by the *energy* they
# give to a pair of what is visible and what might be hidden; then make one collapse on purpose.
# **Time.** Twenty minutes; cells take seconds on a laptop's CPU, the collapse half a minute. **You need**
# `00_start_here`; `01_masks` helps.
#
# Self-supervised learning gives low energy to compatible pairs and high energy to incompatible ones. *Compatible* is
# where the three differ:
#
# * **Joint-embedding** (VICReg): two views of one picture get the same embedding.
# * **Generative** (masked autoencoder): the hidden pixels are drawn, and compared as pixels.
# * **Joint-embedding predictive** (I-JEPA): the *representation* of the hidden part is predicted.
#
# All three here have the same encoder and were trained on the same drawn scenes.

# %%
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import fill

import torch

from ijepa_viz.checkpoints.training_cost import training_of
from ijepa_viz.data.transforms import to_pil
from ijepa_viz.figures import run_figure
from ijepa_viz.figures.completion import context_image
from ijepa_viz.prediction import predict
from ijepa_viz.probes.factors import draw_factor_scenes
from ijepa_viz.runtime.run_folder import read_log
from ijepa_viz.widgets import ArchitectureDiagram, RunMonitor
from train.objectives.objective import load_objective
from train.reports.energies import DISTRACTORS, distractors, energies, energy_table
from train.reports.verdict import verdict

SEED = 0
NAMES = {"invariance": "menagerie-tiny-invariance", "mae": "menagerie-tiny-mae", "ijepa": "menagerie-tiny"}
models = {kind: load_objective(name) for kind, name in NAMES.items()}
for kind, name in NAMES.items():
    cost = training_of(name)
    print(f"{kind:11} {name:26} {cost.images / 1e6:.2f} M pictures, {cost.flops:.1e} operations")

# %% [markdown]
# ## Point at the parts, then try candidates
#
# A part of one thing is hidden. The candidates are the true completion and seven others; each changes one thing. Press
# one, and read the three energies, each as a multiple of what that architecture gives to the truth.
#
# **Try this**
# 1. *moved* is a block from elsewhere in the same picture. Which architecture is invariant to it, and why?
# 2. *texture shifted* changes a nuisance factor only. Is any of them sensitive to it?
# 3. *mirrored* and *recoloured*: which architecture is sensitive to which?

# %%
grid, size = models["ijepa"].model.grid, models["ijepa"].model.config.image_size
part_scenes = draw_factor_scenes(40, size, grid, block=3, seed=1004)
candidates = distractors(part_scenes)
SCENE = 2  # any of the 40
values = {kind: energies(model, part_scenes, candidates)[:, SCENE].tolist() for kind, model in models.items()}
prediction = predict(
    models["ijepa"].model, part_scenes.images[SCENE].float() / 255, part_scenes.masks[SCENE : SCENE + 1]
)
about = {"true": "the original", **DISTRACTORS}
diagram = ArchitectureDiagram(
    (context_image(prediction) * 255).astype("uint8"),
    {name: (to_pil(pictures[SCENE].float() / 255), about[name]) for name, pictures in candidates.items()},
    values,
)
diagram

# %% [markdown]
# ## Over many scenes
#
# One scene is an anecdote. Over 100 scenes: how often does a distractor get more energy than the truth (AUROC; 0.5 is
# chance)? Pale bars are untrained models. The full table, 1000 scenes, is
# `python -m train.reports.energies menagerie-tiny menagerie-tiny-mae menagerie-tiny-invariance`.

# %% tags=["cover"]
table, figure = energy_table({kind: models[kind] for kind in NAMES}, count=100)
print(f"{'':16}", *(f"{name.split(', ')[-1]:>11}" for name in table))
for kind in DISTRACTORS:
    print(f"{kind:16}", *(f"{row[kind]['accuracy']:11.2f}" for row in table.values()))
figure

# %% [markdown]
# An energy is sensitive only to what its representation encodes. The table therefore lists what each architecture is
# *invariant* to: the columns near one half.
#
# ## Collapse, on purpose
#
# A joint-embedding architecture, predictive or not, has a trivial solution: map everything to the same vector, and every
# energy is zero. I-JEPA avoids it by stopping the gradient at the target encoder, which only follows as a moving
# average. Two short runs from `python -m train.reports.collapse`, side by side: one as it should be, one whose gradient is not
# stopped. Watch the second one fall; the cell below it waits for both.

# %%
work = Path(tempfile.mkdtemp())
WIDTH = 64  # of the encoder in the collapse config
ABLATIONS = ["baseline", "no stop-gradient"]
SHORT = ["optimization.steps=140", "optimization.warmup=20", "run.monitor_every=10"]
SHORT += ["data.source=menagerie:count=1500", "data.eval_source=null"]


def break_it(name):
    """Start one run of ``train.reports.collapse``; returns its folder and the process."""
    command = [sys.executable, "-m", "train.reports.collapse", "--out", str(work / name), "--only", name, *SHORT]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return work / name / name.replace(",", "").replace(" ", "-"), process


runs = {name: break_it(name) for name in ABLATIONS}
monitor = RunMonitor(runs["no stop-gradient"][0], lambda rows: verdict(rows, WIDTH))
monitor

# %%
for _, process in runs.values():
    output, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]
    print(fill(output.splitlines()[0], 96), "\n")
monitor.stop()

# %%
run_figure(read_log(runs["no stop-gradient"][0]), "no stop-gradient: a falling loss, and nothing left")

# %% [markdown]
# The loss of the broken run goes down beautifully. That is why the monitor looks at the features and not at the loss.
#
# ## Questions
#
# 1. Which architecture would you take to find pictures of the same animal, and which to predict a robot's next frame?
# 2. The generative model's energy is high for a right answer drawn a little differently. What does it have to spend its
#    capacity on?
# 3. Why does the masked autoencoder not collapse, even without any safeguard?
#
# ## Exercise
#
# Slide the true block by one patch to the right, within its own hole's row. Which architectures notice?

# %% tags=["solution"]
side = size // grid[1]
slid = part_scenes.images.clone()
for i in range(len(slid)):
    mask = part_scenes.masks[i : i + 1]
    inside = mask.hidden_pixels(side)[0]
    slid[i] = torch.where(inside, part_scenes.images[i].roll(side, 2), part_scenes.images[i])
for kind, model in models.items():
    truth, moved = energies(model, part_scenes, {"true": part_scenes.images, "slid": slid})
    print(f"{kind:11} has a higher energy than the truth in {100 * (moved > truth).float().mean():.0f} % of the scenes")

# %%
# This notebook checks itself.
assert table["ijepa"]["species swapped"]["accuracy"] > 0.9
assert table["ijepa"]["moved"]["accuracy"] > 0.95
assert table["ijepa"]["texture shifted"]["accuracy"] < 0.65, "a texture without meaning must not matter to I-JEPA"
assert table["mae"]["moved"]["accuracy"] > 0.9
assert all(0.2 < row["other species"]["accuracy"] < 0.8 for name, row in table.items() if "untrained" in name)
assert verdict(read_log(runs["no stop-gradient"][0]), WIDTH).name == "complete collapse"
assert verdict(read_log(runs["baseline"][0]), WIDTH).healthy
print("All checks passed.")
