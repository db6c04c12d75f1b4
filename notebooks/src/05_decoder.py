# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The decoder: how the announcement's figure is made, and when to trust it
#
# **Goal.** Decode a dog's head and a bird's leg from predictions, train a decoder of your own, and compare the
# picture with every control that could refute it. **Time.** Twenty-five minutes; the short training takes half a
# minute on a laptop's CPU. **You need** `00_start_here`; `04_what_the_predictor_knows` helps.
#
# An I-JEPA predicts representations. To *look* at one, a diffusion model learns to draw the pixels of a block from the
# tokens that were predicted for it. Its picture is evidence about the predictor only if the decoder adds nothing of its
# own, so it sees the tokens and their places, **never a pixel of the image**. (The I-JEPA here, `menagerie-tiny`, is trained with
# a variance-covariance term that the paper's is not.)

# %%
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import decoders
import ijepa_viz
from decoders import load_decoder
from ijepa_viz import examples
from ijepa_viz.data import menagerie
from ijepa_viz.figures import Answer, Figure, completion_grid, one_hole_figure
from ijepa_viz.inspections.maps import controls

SEED = 0
model = ijepa_viz.load_model("menagerie-tiny")
decoder = load_decoder("menagerie-tiny")
scenes = examples.drawn_scenes(decoder.image_size)
predictions = [ijepa_viz.predict(model, scene.image, scene.masks(model.grid)) for scene in scenes]
print(f"the model reads {model.config.image_size} px, its decoder draws {decoder.image_size} px")

# %% [markdown]
# ## Train one, in the background
#
# A short form of `decoders/configs/menagerie-tiny.yaml`: half the width, batches of half the size, 200 steps, the I-JEPA's
# features of 40 batches kept and used again. The bundled decoder has two stages, and took a core about four and a half hours: one
# network decides, by sampling target tokens from the predicted ones, and another draws what was decided, at 128 px
# (`decoders/configs/menagerie-tiny-tokens.yaml` and `menagerie-tiny-128px.yaml`). Yours has one stage, which does both at
# once, at 64 px.

# %%
STEPS, BATCHES = 200, 40
work = Path(tempfile.mkdtemp())
config = Path(decoders.__file__).parent / "configs" / "menagerie-tiny.yaml"
training = subprocess.Popen(
    [
        sys.executable, "-m", "decoders", "--fname", str(config), f"run.folder={work / 'decoder'}",
        "data.source=menagerie:count=640", f"data.cached_batches={BATCHES}", "network.options={width: 96, depth: 4, heads: 4}",
        f"optimization.steps={STEPS}", "optimization.batch_size=16", "optimization.lr=1.5e-3", "optimization.ema=0.98",
    ],
    stdout=subprocess.DEVNULL, stderr=(work / "log.txt").open("w"), env={**os.environ, "OMP_NUM_THREADS": "1"},
)  # fmt: skip

# %% [markdown]
# ## The figure
#
# A dog's head, a bird's leg, a wolf's legs, a building's roof, a cat's head: the first scenes of the test seed that show
# such a thing well, chosen by what is drawn in them and not by how their samples look. Green: six noise seeds for one
# prediction.

# %%
completion_grid([(prediction, decoder.sample(prediction, 6, seed=SEED)) for prediction in predictions])

# %% [markdown]
# **The reading rule.** What the samples *share* is in the prediction. What *varies* between them is not.
#
# The same for photographs, by another pair of networks: `cats-tiny` learned from cats' faces. One cat, which it has never seen, with an
# eye, nose and mouth, the forehead and an ear hidden; in orange, decoded from another cat's prediction.

# %%
cat_model, cat_decoder = ijepa_viz.load_model("cats-tiny"), load_decoder("cats-tiny")
cats = examples.cats()
cat_rows = []
for cat in cats[:4]:
    own = ijepa_viz.predict(cat_model, cat.image, cat.masks(cat_model.grid))
    control = ijepa_viz.predict(cat_model, cats[-1].image, own.masks)
    cat_rows.append((own, cat_decoder.sample(own, 6, seed=SEED), cat_decoder.sample(control, 2, seed=SEED)))
completion_grid(cat_rows)

# %% [markdown]
# (The other cat is of the Oxford-IIIT Pet data set, under CC BY-SA 4.0: `ijepa_viz/photographs/README.md`.)
#
# ## The controls
#
# For one hole, the same decoder with the same noise, given other things. If a control looks as good as the prediction,
# the picture is worth nothing.
#
# * *its average*: the block's predicted tokens averaged to one, as the paper decodes them; no control;
# * *another image's prediction* for the same hole, and *the mean prediction* of many images: what is so of any picture;
# * *nothing*: the decoder on its own;
# * *target tokens*: of the encoder that sees the hole. What the decoder can draw at best.

# %%
dog = predictions[0]
picture = dog.picture(decoder.image_size)
images = torch.from_numpy(menagerie.scenes(0, 24, model.config.image_size, seed=1)).permute(0, 3, 1, 2)
given = {name: dog.replaced(tokens) for name, tokens in controls(model, images[1:], dog.masks).items()}
drawn = {
    "prediction": decoder.sample(dog, 4, seed=SEED),
    "its average (the paper's setting)": decoder.sample(dog, 4, seed=SEED, conditioning="pooled"),
    "another image's prediction": decoder.sample(given["another image"], 4, seed=SEED),
    "the mean prediction": decoder.sample(given["mean prediction"], 4, seed=SEED),
    "nothing": decoder.sample(dog, 4, seed=SEED, conditioning="null"),
    "target tokens (see the hole)": decoder.sample(dog, 4, seed=SEED, source="target"),
}
for name, samples in drawn.items():
    inside = samples.images[:, :, samples.inside]
    truth = picture[:, samples.inside]
    print(f"{name:36} distance from the true pixels {float((inside - truth).abs().mean()):.3f}")

# %% tags=["cover"]
answers = [
    Answer(name.replace(" (", "\n(").replace("another image's ", "another image's\n"), samples.on(picture)[0],
           kind="predicted" if name.startswith(("prediction", "its")) else "target" if "target" in name else "control")
    for name, samples in drawn.items()
]  # fmt: skip
one_hole_figure(dog, answers)

# %% [markdown]
# In the printed distances as in the figure: the prediction and its average are nearer to the truth than every control, and
# the target tokens, which have seen the hole, are nearest.
#
# ## Not one pixel leaks
#
# Hold the prediction and replace every pixel of the image by noise. The samples do not change by a bit.

# %%
noise = replace(dog, image=torch.rand_like(dog.image))
same = decoder.sample(noise, 4, seed=SEED)
print("bit-identical:", torch.equal(same.images, drawn["prediction"].images))

# %% [markdown]
# ## How many steps
#
# With one step the decoder draws the *mean* of everything that fits: what a squared-error decoder would give, a blur.
# More steps commit to one possibility. The default is where more steps stopped helping.

# %%
numbers = (1, 2, 4, decoder.config.steps)
rows = [(dog, decoder.sample(dog, 6, steps=steps, seed=SEED)) for steps in numbers]
completion_grid(rows, names=["1 step", *(f"{steps} steps" for steps in numbers[1:])])

# %% [markdown]
# ## What varies, and what does not
#
# The standard deviation over 32 samples, with the prediction and with nothing. Dark: the samples agree.
#
# The reading rule needs samples that vary as much as the truth does.
# `ijepa-viz evaluate menagerie-tiny --data menagerie --decoder --metric calibration --figure FILE` measures it on 160 blocks: a
# species that three quarters of the samples show is there about three times out of four, but the finest grain hardly
# varies, because this decoder hardly draws it.

# %%
many = {
    name: decoder.sample(dog, 32, seed=SEED, conditioning=c)
    for name, c in (("the prediction", "tokens"), ("nothing", "null"))
}
print(f"{len(many['nothing'].images)} samples each")
spreads = {
    name: samples.images.std(0).mean(0).masked_fill(~samples.inside, float("nan")) for name, samples in many.items()
}
figure = Figure("Where samples vary, given the prediction and given nothing.", figsize=(7.5, 3.2), layout="constrained")
axes = figure.subplots(1, 3)
axes[0].imshow(picture.permute(1, 2, 0))
axes[0].set_title("original")
for axis, (name, spread) in zip(axes[1:], spreads.items(), strict=True):
    shown = axis.imshow(spread, vmin=0, vmax=0.35, cmap="magma")
    axis.set_title(f"given {name}")
for axis in axes:
    axis.set_xticks([])
    axis.set_yticks([])
figure.colorbar(shown, ax=axes[1:].tolist(), label="spread of 32 samples")
figure


# %%
def spread_of(samples):
    """Standard deviation over the samples, averaged over the hole's pixels."""
    return float(samples.images.std(0)[:, samples.inside].mean())


for name, samples in many.items():
    print(f"spread given {name:16} {spread_of(samples):.3f}")

# %% [markdown]
# ## Your own decoder
#
# The mean of what fits is learned first: the upper two rows are one step, and have taken on tones of their scenes, but no
# shapes yet. The lower two rows are samples, and after 200 small steps they are little more than noise around that mean:
# drawing takes far longer to learn.

# %%
assert training.wait() == 0, (work / "log.txt").read_text()[-2000:]
own = load_decoder(sorted((work / "decoder").glob("step-*"))[-1])
print(f"trained for {STEPS} steps on the features of {BATCHES} batches")
rows = [(p, own.sample(p, 6, steps=steps, seed=SEED)) for steps in (1, None) for p in predictions[:2]]
completion_grid(rows, names=["1 step"] * 2 + [f"{own.config.steps} steps"] * 2)

# %% [markdown]
# ## Questions
#
# 1. Given *nothing*, the decoder still draws something. What, and where does it know it from?
# 2. With target tokens the picture is nearest to the truth. Why does that prove nothing about the predictor?
# 3. The paper decodes the average of a block's tokens. What survives the averaging, and what does not?
#
# <details><summary>Answers</summary>
#
# 1. What is often at that place, and something different with each noise seed: what the decoder learned of blocks in
#    general. It is what you would see if the predictor knew nothing.
# 2. The target encoder saw the hole. Good pictures from its tokens show that the decoder can draw what tokens hold, which is
#    needed, but not that a predictor that saw only the rest put it there.
# 3. What the block's tokens share: species, colours, roughly what is in it. Where in the block things are, mostly not.
#
# </details>
#
# ## Exercise
#
# Guidance pushes samples towards the condition. Draw with `decoder.sample(dog, 32, guidance=3.0, seed=SEED)` and compare its
# `spread_of` with that of `many["the prediction"]`. Why is it off by default?

# %%
# Your code.


# %% tags=["solution"]
guided = decoder.sample(dog, 32, guidance=3.0, seed=SEED)
print(f"spread without guidance {spread_of(many['the prediction']):.3f}, with guidance 3 {spread_of(guided):.3f}")

# %% [markdown] tags=["solution"]
# The spread shrinks, though the prediction is the same. That is the decoder's doing: samples now agree on more than the
# prediction says, and the reading rule is broken.

# %% [markdown]
# ## What to take home
#
# A decoded picture is evidence about a predictor only together with its controls, with several noise seeds, and from a decoder
# that sees nothing else.

# %%
# This notebook checks itself.
assert torch.equal(same.images, drawn["prediction"].images), "a context pixel leaked"


def error(name):
    """Mean distance of a row's samples from the true pixels."""
    return float((drawn[name].images - picture)[:, :, drawn[name].inside].abs().mean())


assert error("prediction") < 0.8 * error("another image's prediction"), "the control must look different"
assert error("prediction") < 0.8 * error("nothing")
assert spread_of(many["the prediction"]) < spread_of(many["nothing"]), "a prediction must reduce the variance"
assert own.config.ijepa_sha256 == decoder.config.ijepa_sha256
print("All checks passed.")
