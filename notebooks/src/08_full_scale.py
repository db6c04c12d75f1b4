# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Full scale: published weights, or your own checkpoint
#
# **Goal.** Open a checkpoint in the reference format, look inside its predictions, and know beforehand what it will need.
# **Time.** Ten minutes on a laptop's CPU with the stand-in; a published ViT-H/14 takes about a minute a cell.
# **You need** `04_what_the_predictor_knows`.
#
# | name | what | file | download |
# |---|---|---|---|
# | `ijepa-vith14-in1k` | ViT-H/14, ImageNet-1k, 300 epochs | `IN1K-vit.h.14-300e.pth.tar` | about 10 GB |
# | `ijepa-vith16-448-in1k` | ViT-H/16 at 448 px, ImageNet-1k, 300 epochs | `IN1K-vit.h.16-448px-300e.pth.tar` | about 10 GB |
# | `ijepa-vith14-in22k` | ViT-H/14, ImageNet-22k | `IN22K-vit.h.14-900e.pth.tar` | about 10 GB |
# | `ijepa-vitg16-in22k` | ViT-g/16, ImageNet-22k | `IN22K-vit.g.16-600e.pth.tar` | about 10 GB |
#
# They are published under CC BY-NC 4.0, and hold the predictor. The Hugging Face and timm versions hold the context
# encoder only: they cannot predict.
#
# Set `SOURCE` to one of the names, or to a path of yours. As it stands, this notebook writes a **random** checkpoint of
# a small model in the same format, so that every cell runs offline. Its pictures mean nothing, and say so.

# %%
import tempfile
from pathlib import Path

import torch

import decoders
import ijepa_viz
from decoders.config import DecoderTrainConfig
from decoders.training.plan import plan, sizes_of
from ijepa_viz import examples
from ijepa_viz.checkpoints import save_reference
from ijepa_viz.checkpoints.training_cost import training_of
from ijepa_viz.data import menagerie
from ijepa_viz.data.transforms import to_tensor
from ijepa_viz.inspections import INSPECTIONS, InspectionInput
from ijepa_viz.models import IJEPA, ModelConfig
from ijepa_viz.runtime import config_files
from ijepa_viz.runtime.tensors import fingerprint

SEED = 0
SOURCE = None  # "ijepa-vith14-in1k", "my/checkpoint.pth.tar", or a folder such as "runs/mine/step-00008000"

random = SOURCE is None
if random:
    torch.manual_seed(SEED)
    SOURCE = Path(tempfile.mkdtemp()) / "random.pth.tar"
    save_reference(IJEPA(ModelConfig.of_size("tiny", image_size=112, patch_size=14, predictor_depth=6)), SOURCE)
TITLE = "RANDOM weights: these pictures mean nothing" if random else str(SOURCE)

# %% [markdown]
# ## Open it
#
# Sizes are read from the tensors. The file is never unpickled beyond plain tensors, and every name and shape must fit:
# a predictor that is half loaded would give silent nonsense.

# %%
model = ijepa_viz.load_model(SOURCE).eval()
config = model.config
total = sum(p.numel() for p in model.parameters())
print(TITLE)
print(f"images of {config.image_size} px, patches of {config.patch_size} px, a grid of {model.grid[0]}x{model.grid[1]}")
print(f"encoder: width {config.width}, depth {config.depth}, {config.heads} heads")
print(f"predictor: width {config.predictor_width}, depth {config.predictor_depth}, {config.predictor_heads} heads")
print(f"{total / 1e6:.1f} M parameters in all, {4 * total / 2**30:.2f} GiB in float32")

# %% [markdown]
# ## Look inside a prediction
#
# The cat that scikit-image ships, with a hole over half of its face; `to_tensor(read_image("photo.jpg"), ...)` of
# `ijepa_viz.data.transforms` takes a picture of yours. The controls come from other pictures.

# %% tags=["cover"]
cat = examples.photographs()[0]
others = torch.from_numpy(menagerie.scenes(0, 24, config.image_size, seed=1)).permute(0, 3, 1, 2)
inputs = InspectionInput(model, to_tensor(cat.image, config.image_size), cat.masks(model.grid), others)


def look(name):
    """Run one inspection: print its numbers, return its figure with the source of the weights as title."""
    found = INSPECTIONS[name](inputs)
    figure = found.pop("figure")
    figure.suptitle(TITLE, fontsize=9)
    for key, value in found.items():
        print(f"{key.replace('_', ' '):34} {value:.3f}".removesuffix(".000"))
    return figure, found


figure, numbers = look("maps")
figure

# %% [markdown]
# With random weights the prediction is no nearer to the target than another image's is: that is what the control is for.

# %%
look("components")[0]

# %%
look("retrieval")[0]

# %% [markdown]
# ## What a decoder for the ViT-H/14 would take
#
# Computed without fetching anything, for `decoders/configs/in1k-vith14-128px.yaml` on eight GPUs that do 400 TFLOP/s
# each in practice.

# %%
path = Path(decoders.__file__).parent / "configs" / "in1k-vith14-128px.yaml"
GPUS, TFLOPS = 8, 400
needs = plan(config_files.load(DecoderTrainConfig, path), sizes_of("ijepa-vith14-in1k"), gpus=GPUS, tflops=TFLOPS)
print(f"on {GPUS} GPUs at {TFLOPS} TFLOP/s each")
for name, value in needs.items():
    print(
        f"{name.replace('_', ' '):34} {value:,.1f}"
        if isinstance(value, float)
        else f"{name.replace('_', ' '):34} {value}"
    )

# %%
cost = training_of("ijepa-vith14-in1k")
print(f"pretraining it took {cost.flops:.1e} operations, at most {cost.hours:.0f} hours of {cost.hardware}")

# %% [markdown]
# ## Questions
#
# 1. Which of the printed numbers would change if the weights were those of a trained model, and in which direction?
# 2. Why does `load_model` of a Hugging Face id give a model that refuses to predict?
# 3. The checkpoint holds the encoder twice. Which of the two does the paper evaluate?
#
# <details><summary>Answers</summary>
#
# 1. The cosine with the own image's target would rise above the control's, and neighbours would look alike. Sizes, memory and
#    plans stay as they are.
# 2. Those files hold the encoder only. Without a predictor there is nothing to predict with, and random weights in its place
#    would give pictures that look like an answer.
# 3. The target encoder, the moving average.
#
# </details>
#
# ## Exercise
#
# Write your own model in the reference format (`save_reference`) and read it back: do the weights survive? (`fingerprint` is one
# number for all of them.)

# %%
# Your code.

# %% tags=["solution"]
own = ijepa_viz.load_model("menagerie-tiny")
file = Path(tempfile.mkdtemp()) / "menagerie-tiny.pth.tar"
save_reference(own, file)
again = ijepa_viz.load_model(file)
print("the same weights:", fingerprint(again) == fingerprint(own))
assert fingerprint(again) == fingerprint(own)
assert again.config.predictor_heads == own.config.predictor_heads

# %% [markdown] tags=["solution"]
# They do, and so does the number of heads, which no tensor shows and which would change every output if it were guessed wrong.

# %% [markdown]
# ## What to take home
#
# Load strictly, look at a control before you believe a picture, and compute what a training will cost before you start it.

# %%
# This notebook checks itself.
assert model.predictor is not None
if random:
    gap = numbers["prediction_cosine"] - numbers["another_image_cosine"]
    assert abs(gap) < 0.1, "random weights must not fit their own image"
assert 30 < needs["gpu_hours"] < 50, "the plan of the config's own comment: 38 GPU-hours"
print("All checks passed.")
