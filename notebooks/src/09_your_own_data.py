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
# **Goal.** Take a folder of pictures, train an I-JEPA on it, train a decoder on the I-JEPA, and draw a hole.
# **Time.** Twenty minutes to read; the short form trains for under a minute on a laptop's CPU. **You need**
# `00_start_here`; `03_pretrain` and `05_decoder` explain the two trainings.
#
# Set `FOLDER` to a folder of yours: pictures in it, or in a subfolder a class. As it stands, the notebook writes 800
# drawn scenes as JPEG files, which stand for your pictures.

# %%
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import fill

import torch
from PIL import Image

import decoders
import ijepa_viz
import train
from decoders import load_decoder
from ijepa_viz.data import menagerie
from ijepa_viz.data.opening import open_source
from ijepa_viz.figures import completion_grid
from ijepa_viz.runtime.run_folder import read_log
from ijepa_viz.widgets import PredictionExplorer
from train.reports.verdict import verdict

SEED = 0
FOLDER = None  # "/home/me/pictures"

work = Path(tempfile.mkdtemp())
if FOLDER is None:
    FOLDER = work / "pictures"
    FOLDER.mkdir()
    for i, pixels in enumerate(menagerie.scenes(0, 800, 96, seed=0)):
        Image.fromarray(pixels).save(FOLDER / f"{i:04}.jpg", quality=92)

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
# A config and a few keys to change. For results worth keeping: some thousand pictures, `optimization.steps=8000`, and
# an hour. If a run is interrupted, the same command with `--resume` goes on where it stopped.


# %%
def run(module, *arguments):
    """Run a command as in a shell; the end of its stderr if it fails."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


configs = {
    name: Path(package.__file__).parent / "configs" for name, package in (("train", train), ("decoders", decoders))
}
os.environ.setdefault("OMP_NUM_THREADS", "2")
run(
    "train", "--fname", str(configs["train"] / "menagerie-tiny.yaml"), f"data.source={FOLDER}", "data.eval_source=null",
    f"run.folder={work / 'model'}", "model.image_size=48", "model.width=96", "model.heads=3", "mask.options={max_context: 16}",
    "optimization.steps=120", "optimization.batch_size=64", "optimization.ema=[0.99, 0.999]", "optimization.warmup=30",
    "regularizer.weight=0.05", "run.monitor_every=20",
)  # fmt: skip
checkpoint = sorted((work / "model").glob("step-*"))[-1]
model = ijepa_viz.load_model(checkpoint)
print(fill(str(verdict(read_log(work / "model"), model.config.width)), 96))

# %% [markdown]
# ## Train the decoder on it
#
# A decoder belongs to one model: it records the model's fingerprint, and refuses to draw another's predictions. The short
# form is the linear one, solved in closed form in seconds: it draws the mean of what fits, every time the same. For samples
# that differ, train `menagerie-tiny.yaml` in the same folder instead, for an hour (`05_decoder`).

# %%
run(
    "decoders", "--fname", str(configs["decoders"] / "menagerie-tiny-ridge.yaml"), f"ijepa={checkpoint}",
    f"data.source={FOLDER}", f"run.folder={work / 'decoder'}", "optimization.steps=40",
)  # fmt: skip
decoder = load_decoder(sorted((work / "decoder").glob("step-*"))[-1])

# %% [markdown]
# ## Draw a hole

# %%
shown = [pictures.read(i) for i in range(3)]
explorer = PredictionExplorer(model, decoder, shown[0], other=shown[1:], seed=SEED, samples=1)
explorer

# %% tags=["cover"]
rows, cols = model.grid
masks = ijepa_viz.Masks.from_block(model.grid, rows // 4, cols // 4, rows // 2, cols // 2)
predictions = [ijepa_viz.predict(model, image, masks) for image in shown]
rows = [
    (own, decoder.sample(own, 1, seed=SEED), decoder.sample(own.replaced(other.predicted), 1, seed=SEED))
    for own, other in zip(predictions, predictions[1:] + predictions[:1], strict=True)
]
completion_grid(rows)

# %% [markdown]
# After so short a training the green boxes hold tones at best, and may be hard to tell from the orange controls. That is
# the truth about this model, and the reason why every picture here has its control beside it.
#
# ## Share it
#
# One folder with the model, the decoder and what the training cost; `--half` writes float16 (train the decoder on the
# halved model then). Anyone opens it with `load_model(folder)` and `ijepa-viz demo --model folder`.

# %%
run(
    "ijepa_viz.cli",
    "export",
    str(checkpoint),
    str(work / "share"),
    "--decoder",
    str(sorted((work / "decoder").glob("step-*"))[-1]),
)
for file in sorted(p for p in (work / "share").rglob("*") if p.is_file()):
    print(f"{file.relative_to(work)!s:60} {file.stat().st_size / 2**20:6.2f} MiB")

# %% [markdown]
# ## Questions
#
# 1. How would you know that more training helps, without labels? (`03_pretrain`)
# 2. Your pictures may be of one kind only, such as faces. Which augmentation of the config could hurt?
# 3. What must you do with the decoder when the model is trained further?
#
# ## Exercise
#
# Put a file into the folder that is no picture and call it `broken.jpg`. What happens, and when?

# %% tags=["solution"]
(work / "with-broken").mkdir()
(work / "with-broken" / "broken.jpg").write_text("not a picture")
Image.fromarray(menagerie.scenes(0, 1, 96, seed=0)[0]).save(work / "with-broken" / "good.jpg")
source = open_source(str(work / "with-broken"))
errors = []
for i in range(source.count):
    try:
        print(source.read(i).size)
    except ValueError as error:
        errors.append(str(error))
        print(error)

# %%
# This notebook checks itself.
assert len(errors) == 1
assert "broken.jpg" in errors[0]
again = ijepa_viz.load_model(work / "share")
assert load_decoder(work / "share" / "decoder").config.ijepa_sha256 == decoder.config.ijepa_sha256
assert torch.equal(again.encoder.patch_embed.proj.weight, model.encoder.patch_embed.proj.weight)
assert torch.equal(decoder.sample(predictions[0], 2, seed=1).images, decoder.sample(predictions[0], 2, seed=1).images)
print("All checks passed.")
