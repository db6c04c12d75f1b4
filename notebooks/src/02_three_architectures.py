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
from ijepa_viz.probes.factors import ask
from ijepa_viz.runtime.run_folder import read_log
from ijepa_viz.widgets import ArchitectureDiagram, RunMonitor
from train.monitor import verdict
from train.objectives.objective import open_trained
from train.reports.energies import KINDS, distractors, energies, energy_table

SEED = 0
NAMES = {"invariance": "menagerie-tiny-invariance", "mae": "menagerie-tiny-mae", "ijepa": "menagerie-tiny"}
models = {kind: open_trained(name) for kind, name in NAMES.items()}
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
# 1. *moved* is a block from elsewhere in the same picture. Which architecture does not mind, and why?
# 2. *texture shifted* changes nothing that means anything. Does any of them mind?
# 3. *mirrored* and *recoloured*: who cares about which?

# %%
grid, size = models["ijepa"].model.grid, models["ijepa"].model.config.image_size
questions = ask(40, size, grid, block=3, seed=1004)
candidates = distractors(questions)
SCENE = 2  # any of the 40
values = {kind: energies(model, questions, candidates)[:, SCENE].tolist() for kind, model in models.items()}
prediction = predict(models["ijepa"].model, questions.images[SCENE].float() / 255, questions.masks[SCENE : SCENE + 1])
about = {"true": "what is really there", **KINDS}
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
for kind in KINDS:
    print(f"{kind:16}", *(f"{row[kind]['accuracy']:11.2f}" for row in table.values()))
figure

# %% [markdown]
# An energy can only complain about what its representation keeps. So the table is also a list of what each
# architecture is *invariant* to: the columns where it stands near one half.
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
SWITCHES = ["nothing broken", "no stop-gradient"]
SHORT = ["optimization.steps=140", "optimization.warmup=20", "run.monitor_every=10"]
SHORT += ["data.source=menagerie:count=1500", "data.eval_source=null"]


def break_it(name):
    """One run of ``train.reports.collapse`` in its own process; returns its folder and the process."""
    command = [sys.executable, "-m", "train.reports.collapse", "--out", str(work / name), "--only", name, *SHORT]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return work / name / name.replace(",", "").replace(" ", "-"), process


runs = {name: break_it(name) for name in SWITCHES}
monitor = RunMonitor(runs["no stop-gradient"][0], lambda rows: verdict(rows, WIDTH))
monitor

# %%
for _, process in runs.values():
    said, wrong = process.communicate()
    assert process.returncode == 0, wrong[-2000:]
    print(fill(said.splitlines()[0], 96), "\n")
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
slid = questions.images.clone()
for i in range(len(slid)):
    mask = questions.masks[i : i + 1]
    inside = mask.hidden_pixels(side)[0]
    slid[i] = torch.where(inside, questions.images[i].roll(side, 2), questions.images[i])
for kind, model in models.items():
    truth, moved = energies(model, questions, {"true": questions.images, "slid": slid})
    print(f"{kind:11} tells it from the truth in {100 * (moved > truth).float().mean():.0f} % of the scenes")

# %%
# This notebook checks itself.
assert table["ijepa"]["species swapped"]["accuracy"] > 0.9
assert table["ijepa"]["moved"]["accuracy"] > 0.95
assert table["ijepa"]["texture shifted"]["accuracy"] < 0.65, "a texture without meaning must not matter to I-JEPA"
assert table["mae"]["moved"]["accuracy"] > 0.9
assert all(0.2 < row["other species"]["accuracy"] < 0.8 for name, row in table.items() if "untrained" in name)
assert verdict(read_log(runs["no stop-gradient"][0]), WIDTH).name == "complete collapse"
assert verdict(read_log(runs["nothing broken"][0]), WIDTH).healthy
print("All checks passed.")
