# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Pretrain a small I-JEPA, and watch it
#
# **Goal.** Train a model from scratch on drawn scenes, read its curves while it learns, and tell a healthy run from a
# failing one. **Time.** Twenty minutes, of which the short form trains for half a minute on a laptop's CPU.
# **You need** `00_start_here`; `01_masks` helps.
#
# The loss is no progress bar: the targets are the model's own representations, and they get richer while it learns,
# so the loss may *rise* in a good run and fall in a collapsing one. This notebook shows what to look at instead.

# %%
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import fill

import train
from ijepa_viz import load_model
from ijepa_viz.figures import run_figure
from ijepa_viz.runtime.run_folder import read_log
from ijepa_viz.widgets import RunMonitor
from train.reports.verdict import verdict

# The short form: 200 steps of 64 pictures. For a model worth looking at take configs/menagerie-tiny.yaml and an hour.
SEED = 0
work = Path(tempfile.mkdtemp())
configs = Path(train.__file__).parent / "configs"
WIDTH = 64  # of the encoder in this config
SHORT = ["optimization.steps=200", "data.source=menagerie:count=2000", "data.eval_train=1500", "data.eval_test=500"]
BRIEF = ["optimization.steps=50", "optimization.warmup=20", "data.eval_source=null"]  # without kNN
GENERATIVE = ["objective.name=mae", "regularizer.name=none", "mask.strategy=random", "mask.options={scale: 0.75}"]


def start(name, *changes):
    """Start a training run in its own process: ``python -m train --fname CONFIG KEY=VALUE ...``."""
    folder = work / name
    command = [sys.executable, "-m", "train", "--fname", str(configs / "collapse.yaml")]
    command += [f"run.folder={folder}", f"run.seed={SEED}", "run.log_every=5", *SHORT, *changes]
    # One thread each, so that runs at once do not slow each other down.
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = (work / f"{name}.txt").open("w")
    return folder, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=settings)


def finish(run):
    """Wait for a run; returns its newest checkpoint."""
    folder, process = run
    assert process.wait() == 0, (work / f"{folder.name}.txt").read_text()[-2000:]
    return sorted(folder.glob("step-*"))[-1]


# %% [markdown]
# ## Start a run
#
# The monitor below fills in while the model trains: do not wait for it, go on reading.
#
# * **Does a prediction fit its own image?** The cosine with the own image's target, and with another image's. Only the
#   gap is knowledge of the image.
# * **Do features stay apart?** Collapse to zero is the classic failure.
# * **What is it good for?** kNN on held-out scenes, beside a random initialisation and an 8x8 colour thumbnail.

# %%
run = start("ijepa")
generative = start("mae", *GENERATIVE)
frozen = start("frozen", "optimization.ema=[1.0, 1.0]", *BRIEF)  # one that fails, for later
monitor = RunMonitor(run[0], lambda rows: verdict(rows, WIDTH))
monitor

# %% [markdown]
# ## A generative model on the same images
#
# A masked autoencoder with the same encoder, the same data and the same probes; only what it predicts differs: pixels.
# It was started beside the other one.

# %% tags=["cover"]
trained = finish(run)
other = finish(generative)
monitor.look()
run_figure(monitor.rows, "I-JEPA")

# %%
run_figure(read_log(generative[0]), "masked autoencoder")

# %%
for name, folder in (("I-JEPA", run[0]), ("masked autoencoder", generative[0])):
    last = [row for row in read_log(folder) if row["knn"]][-1]
    print(
        f"{name:20} kNN {float(last['knn']):.3f}   random init {float(last['knn_random_init']):.3f}   "
        f"colour thumbnail {float(last['knn_thumbnail']):.3f}   {float(last['minutes']):.1f} minutes"
    )

# %% [markdown]
# After so little both are ahead of their random initialisation and behind the colour thumbnail, and that is the honest
# result: most of what kNN needs on so simple a task is *where which colour is*. Set `optimization.steps=800` above, and
# wait two minutes, to see the I-JEPA draw level. The bundled
# `menagerie-tiny` saw 190 times as many pictures and stands at 86.6 % where the thumbnail has 63.9 %
# (`ijepa-viz info menagerie-tiny`; five classes of scenes at 64 px).
#
# ## The verdict in words
#
# `train.reports.verdict.verdict` reads the log as you just did.

# %%
result = verdict(read_log(run[0]), WIDTH)
print(fill(str(result), 96))

# %% [markdown]
# ## A run that fails
#
# A teacher whose momentum is 1 never moves: the model then predicts the features of a random initialisation. The loss
# looks wonderful. This one was started beside the others.

# %%
finish(frozen)
print(fill(str(verdict(read_log(frozen[0]), WIDTH)), 96))

# %%
run_figure(read_log(frozen[0]), "a frozen teacher")

# %% [markdown]
# ## Questions
#
# 1. In the first run, what happens to the loss, and what to the gap between the two cosines?
# 2. What would you see if all features became the same? (`02_three_architectures` does it on purpose.)
# 3. Why is "random init" in every plot?
#
# ## Exercise
#
# Train with the learning rate a hundred times as high. What does the monitor say, and after how many steps could you
# have known?

# %% tags=["solution"]
wild = start("too-fast", "optimization.lr=0.15", "optimization.clip_grad=null", *BRIEF)
_, process = wild
if process.wait() == 0:
    print(fill(str(verdict(read_log(wild[0]), WIDTH)), 96))
else:  # a loss that is no number stops a run with the step and the way out
    print((work / "too-fast.txt").read_text().strip().splitlines()[-1])

# %%
# This notebook checks itself.
rows = read_log(run[0])
assert result.healthy, result
assert float(rows[-1]["knn"]) > float(rows[-1]["knn_random_init"])
last = [row for row in rows if row["cosine"]][-1]
assert float(last["cosine"]) > float(last["cosine_other"]), "a prediction must fit its own image better"
assert verdict(read_log(frozen[0]), WIDTH).name == "teacher frozen"
model = load_model(trained)
assert model.predictor is not None
assert load_model(other).predictor is None, "an autoencoder's decoder predicts pixels, not representations"
monitor.stop()
print("All checks passed.")
