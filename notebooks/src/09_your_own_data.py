# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own data: from a folder of pictures to a model and a decoder
#
# **Goal.** Take a folder of pictures, adapt an I-JEPA of photographs to it, adapt its decoder too, and draw a hole.
# **Time.** Twenty minutes to read; the short form trains for a minute on a laptop's CPU. **You need**
# `00_start_here`; `03_pretrain` and `05_decoder` explain the two trainings.
#
# A few hundred pictures are far too few to train from random weights: predictions stay brown squares, whatever picture they
# are for. Therefore this notebook starts from `wild-tiny`, an I-JEPA of this project that was trained on 43 200 small
# photographs (and, unlike the paper's, with a variance-covariance term in its loss).
#
# Set `FOLDER` to a folder of yours: pictures in it, or in a subfolder a class; and `HELD_OUT` to a few pictures that are *not*
# in it, to look at. As it stands, the notebook cuts 300 squares out of two photographs, which stand for your pictures, and holds out two
# other photographs.

# %%
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from IPython.display import display
from PIL import Image

import decoders
import ijepa_viz
import train
from decoders import load_decoder
from ijepa_viz import examples
from ijepa_viz.data.opening import open_source
from ijepa_viz.figures import completion_grid, run_figure
from ijepa_viz.runtime.run_folder import read_log
from ijepa_viz.widgets import PredictionExplorer, RunMonitor
from train.reports.verdict import verdict

SEED = 0
FOLDER = None  # "/home/me/pictures"
HELD_OUT = []  # such as ["/home/me/others/1.jpg", "/home/me/others/2.jpg"]: at least two
START = "wild-tiny"  # of photographs; "menagerie-tiny" for drawings, or a checkpoint of yours

work = Path(tempfile.mkdtemp())
if FOLDER is None:
    FOLDER = work / "pictures"
    FOLDER.mkdir()
    cat, astronaut, rocket, coffee = (example.image for example in examples.photographs())
    random = np.random.default_rng(SEED)
    for i in range(300):
        picture = (rocket, astronaut)[i % 2]
        side = int(random.integers(120, picture.width))
        left, top = random.integers(0, picture.width - side + 1, 2).tolist()
        picture.crop((left, top, left + side, top + side)).resize((96, 96)).save(FOLDER / f"{i:04}.jpg", quality=92)
    held_out = [cat, coffee]
else:
    held_out = [Image.open(path).convert("RGB") for path in HELD_OUT]
    assert len(held_out) > 1, "name at least two pictures in HELD_OUT: each is the other's control"

# %% [markdown]
# ## What is in it
#
# Any string works that `open_source` takes: a folder, parquet files, a public data set's name. Every picture is cut to
# its middle square and resized; what cannot be read is named.

# %%
pictures = open_source(str(FOLDER))
print(f"{pictures.count} pictures in {FOLDER}")

# %% [markdown]
# ## Train the I-JEPA
#
# A config, `start_from`, and a few keys to change. The curves below fill in while it trains. For results worth keeping: some
# thousand pictures, `optimization.steps=8000`, and an hour. If a run is interrupted, the same command with `--resume` goes on
# where it stopped.


# %%
def start(module, *arguments):
    """Start a command as in a shell, in the background; its messages go to a file."""
    log = (work / f"{module}.txt").open("w")
    return subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=log, stderr=subprocess.STDOUT)


def finish(process, module):
    """Wait for a command; the end of its messages if it failed."""
    assert process.wait() == 0, (work / f"{module}.txt").read_text()[-2000:]


configs = {
    name: Path(package.__file__).parent / "configs" for name, package in (("train", train), ("decoders", decoders))
}
os.environ.setdefault("OMP_NUM_THREADS", "2")
training = start(
    "train", "--fname", str(configs["train"] / "wild-tiny.yaml"), f"start_from={START}", f"data.source={FOLDER}",
    "data.eval_source=null", f"run.folder={work / 'model'}", "optimization.steps=60", "optimization.batch_size=64",
    "optimization.start_lr=2.0e-5", "optimization.lr=2.0e-4", "optimization.warmup=20", "optimization.ema=[0.99, 0.999]",
    "run.log_every=2", "run.monitor_every=10",
)  # fmt: skip
before = ijepa_viz.load_model(START)
monitor = RunMonitor(work / "model", lambda rows: verdict(rows, before.config.width))
watched = display(monitor, display_id=True)

# %%
finish(training, "train")
monitor.stop()
watched.update(monitor)  # pages that are exported show the whole run
checkpoint = sorted((work / "model").glob("step-*"))[-1]
model = ijepa_viz.load_model(checkpoint)
print(fill(str(verdict(read_log(work / "model"), model.config.width)), 96))

# %%
run_figure(monitor.rows, f"{START}, adapted")

# %% [markdown]
# The verdict is about the training pictures. What did it bring for the held-out ones? The cosine of the prediction with the
# target, and of the control, before and after; each model has its own targets, so compare the *gaps*.
# With the stand-ins do not expect a gain: the folder holds pieces of two photographs, and the held-out ones are others. With some
# thousand pictures of one kind, and others of that kind held out, the gap should grow; that is how you know that it works.

# %%
rows, cols = model.grid
masks = ijepa_viz.Masks.from_block(model.grid, rows // 4, cols // 4, rows // 2, cols // 2)


def gap(network):
    """Mean cosine over the held-out pictures' holes: the own prediction's, and another picture's."""
    found = [ijepa_viz.predict(network, image, masks) for image in held_out]
    other = [own.replaced(following.predicted) for own, following in zip(found, found[1:] + found[:1], strict=True)]
    return [float(torch.stack([p.cosine.mean() for p in some]).mean()) for some in (found, other)]


for name, network in ((START, before), ("adapted", model)):
    own, control = gap(network)
    print(f"{name:12} own prediction {own:.3f}   another picture's {control:.3f}   gap {own - control:.3f}")

# %% [markdown]
# ## Train the decoder on it
#
# A decoder belongs to one model: it records the model's fingerprint, and refuses to draw another's predictions. The adapted
# model therefore needs its own, which starts from the bundled one and follows the small change of the features.

# %%
drawing = start(
    "decoders", "--fname", str(configs["decoders"] / "wild-tiny.yaml"), f"ijepa={checkpoint}", f"start_from={START}",
    f"data.source={FOLDER}", f"run.folder={work / 'decoder'}", "optimization.steps=60", "optimization.lr=2.0e-4",
)  # fmt: skip
progress = display("starting", display_id=True)
while drawing.poll() is None:  # the last line that it wrote, until it is done
    time.sleep(1)
    progress.update(((work / "decoders.txt").read_text().strip().splitlines() or ["starting"])[-1])
finish(drawing, "decoders")
decoder = load_decoder(sorted((work / "decoder").glob("step-*"))[-1])

# %% [markdown]
# ## Draw a hole

# %%
explorer = PredictionExplorer(model, decoder, held_out[0], other=held_out[1:], seed=SEED, samples=4)
explorer

# %% tags=["cover"]
predictions = [ijepa_viz.predict(model, image, masks) for image in held_out]
rows = [
    (own, decoder.sample(own, 4, seed=SEED), decoder.sample(own.replaced(other.predicted), 2, seed=SEED))
    for own, other in zip(predictions, predictions[1:] + predictions[:1], strict=True)
]
completion_grid(rows)

# %% [markdown]
# Green must differ from orange, or the pictures say nothing. What you can expect of so small a model: the tones around the
# hole go on into it, large shapes in part; a face or a cup that it has not seen does not appear. More pictures of *your* kind and an hour
# of training change that; a minute does not.
#
# ## Share it
#
# One folder with the model, the decoder and what the training cost; `--half` writes float16 (train the decoder on the
# halved model then). Anyone opens it with `load_model(folder)` and `ijepa-viz demo --model folder`.

# %%
newest = sorted((work / "decoder").glob("step-*"))[-1]
exporting = start("ijepa_viz.cli", "export", str(checkpoint), str(work / "share"), "--decoder", str(newest))
finish(exporting, "ijepa_viz.cli")
for file in sorted(p for p in (work / "share").rglob("*") if p.is_file()):
    print(f"{file.relative_to(work)!s:60} {file.stat().st_size / 2**20:6.2f} MiB")

# %% [markdown]
# ## Questions
#
# 1. How would you know that more training helps, without labels? (`03_pretrain`)
# 2. Your pictures may be of one kind only, such as faces. Which augmentation of the config could hurt?
# 3. What must you do with the decoder when the model is trained further?
#
# <details><summary>Answers</summary>
#
# 1. The gap between the own and another picture's prediction still grows on pictures that are held out, and the rank does not
#    fall. The loss says neither.
# 2. Crops of a third of the picture (`data.crop_scale`) may show half a mouth, which is nobody's face; and a mirror image is wrong
#    for text, or for anything that has a side.
# 3. Train it again on the new weights, starting from the old one. It refuses to draw for another model until then.
#
# </details>
#
# ## Exercise
#
# Put a file that is no picture into a folder beside a good one and call it `broken.jpg`. What happens at `open_source`, and
# what at `read`?

# %%
# Your code.

# %% tags=["solution"]
(work / "with-broken").mkdir()
(work / "with-broken" / "broken.jpg").write_text("not a picture")
held_out[0].save(work / "with-broken" / "good.jpg")
source = open_source(str(work / "with-broken"))
errors = []
for i in range(source.count):
    try:
        print(source.read(i).size)
    except ValueError as error:
        errors.append(str(error))
        print(error)
assert len(errors) == 1
assert "broken.jpg" in errors[0]

# %% [markdown] tags=["solution"]
# The folder opens, because a name costs nothing to read; the file is named when its pixels are asked for. A training leaves it
# out and says so, instead of stopping after an hour.

# %% [markdown]
# ## What to take home
#
# With few pictures, start from a model that knows many. Judge on pictures that are not in the folder, beside their control.

# %%
# This notebook checks itself.
again = ijepa_viz.load_model(work / "share")
assert load_decoder(work / "share" / "decoder").config.ijepa_sha256 == decoder.config.ijepa_sha256
assert torch.equal(again.encoder.patch_embed.proj.weight, model.encoder.patch_embed.proj.weight)
own, control = gap(model)
assert own > control + 0.02, "a prediction must fit its own picture better, on pictures that were not learned from"
assert torch.equal(decoder.sample(predictions[0], 2, seed=1).images, decoder.sample(predictions[0], 2, seed=1).images)
print("All checks passed.")
