# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Start here: what does a JEPA expect in the hole?
#
# **Goal.** Hide part of a picture, ask a small I-JEPA what belongs there, and look at its answer.
# **Time.** Ten minutes; every cell runs on a laptop's CPU. **You need** nothing but this notebook.
#
# New to notebooks? Click into a grey cell and press **Shift + Enter**: it runs, and the next one is chosen. *Run, Run
# All Cells* in the menu runs them all. Nothing you do here can break anything: *Kernel, Restart Kernel* starts over.
#
# A *generative* model would paint the missing pixels. A **J**oint-**E**mbedding **P**redictive
# **A**rchitecture does not. It cuts the picture into square *patches* and predicts for each hidden one a *token*, a row of
# numbers that stands for what is there. These tokens are the hidden part's **representation**; no pixel is ever predicted.
# To look at that prediction we need a second network, a *decoder*, which draws pixels for the tokens. It draws several
# samples, each with different noise:
#
# > What the samples **share** is in the prediction. What **varies** between them is not.
#
# **Which model this is.** `menagerie-tiny` is a small I-JEPA for drawn scenes. It differs from that of [the
# paper](https://arxiv.org/abs/2301.08243) in one thing that matters: its loss has a *variance-covariance term*, which keeps
# the features of the context encoder apart. The paper has no such term. It relies on the stopped gradient, a slowly moving
# teacher, and hundreds of epochs of ImageNet; in training as short as ours that alone learns hardly anything.
# `02_three_architectures` and `03_pretrain` show it and say what these words mean; nothing below needs them.

# %%
import torch

import ijepa_viz
from decoders import load_decoder
from ijepa_viz import examples
from ijepa_viz.figures import completion_grid, mask_figure
from ijepa_viz.widgets import PredictionExplorer

SEED = 0
model = ijepa_viz.load_model("menagerie-tiny")
decoder = load_decoder("menagerie-tiny")
scenes = examples.drawn_scenes(decoder.image_size)
cat_model, cat_decoder = ijepa_viz.load_model("cats-tiny"), load_decoder("cats-tiny")
print(
    f"{len(scenes)} scenes; the model reads {model.config.image_size} px, a grid of {model.grid[0]}x{model.grid[1]} patches, and the decoder draws {decoder.image_size} px"
)

# %% [markdown]
# ## Draw the hole yourself
#
# Drag over the picture and let go. A drag that starts on a hidden patch shows it again; arrow keys and
# space work too. The model never sees what you hide.
#
# **Try this**
# 1. Hide all of the dog. Hide only its head, then only its legs.
# 2. Hide a piece of plain sky. How much do the samples differ now?
# 3. Switch *decode* to **another image's prediction**. If the samples did not change, the decoder would
#    be inventing everything, and the picture would be worth nothing.
# 4. Take one of the cats in the row, and hide one of its eyes, then both. For photographs of cats another model answers,
#    `cats-tiny`, which learned from nothing else; the menu *model* says which one is asked. A cat of your own may be dropped on
#    the picture.

# %%
explorer = PredictionExplorer(
    model, decoder, scenes[0].image, other=scenes[1].image, seed=SEED, name="menagerie-tiny",
    alternatives={"cats-tiny": (cat_model, cat_decoder)},
)  # fmt: skip
explorer

# %% [markdown]
# ## The announcement's figure
#
# I-JEPA was announced with a figure of this kind. Original, what the encoder saw, six samples in a green box, and, in
# orange, the **control**: the same hole decoded from another image's prediction. A claim about the green boxes must fail for
# the orange ones.

# %% tags=["cover"]
predictions = [ijepa_viz.predict(model, s.image, s.masks(model.grid)) for s in scenes]
# The control: the prediction for the same hole from the next scene.
pairs = zip(predictions, predictions[1:] + predictions[:1], strict=True)
controls = [ijepa_viz.predict(model, following.image, own.masks) for own, following in pairs]
rows = [
    (own, decoder.sample(own, 6, seed=SEED), decoder.sample(control, 2, seed=SEED))
    for own, control in zip(predictions, controls, strict=True)
]
completion_grid(rows)

# %% [markdown]
# ## Photographs of cats
#
# `cats-tiny` has the same size and the same loss, and learned from photographs of cats' faces, at 64 px. Here it meets a cat that it
# has never seen, with four different holes, and heads of other cats. The control in orange is the prediction from another
# cat: an eye is an eye there too, so look at its *colour*, at the fur, and at where it lies.

# %%
cats = examples.cats()[:8]
cat_predictions = [ijepa_viz.predict(cat_model, c.image, c.masks(cat_model.grid)) for c in cats]
cat_rows = []
for i, own in enumerate(cat_predictions):
    following = next(c for c in cats[i + 1 :] + cats[:i] if c.image is not cats[i].image)
    control = ijepa_viz.predict(cat_model, following.image, own.masks)
    cat_rows.append((own, cat_decoder.sample(own, 6, seed=SEED), cat_decoder.sample(control, 2, seed=SEED)))
completion_grid(cat_rows)

# %% [markdown]
# The first picture is scikit-image's cat; the heads are of the Oxford-IIIT Pet data set, under CC BY-SA 4.0
# (`ijepa_viz/photographs/README.md`), and so is this figure.
#
# ## In numbers
#
# *Target tokens* are what the model's second encoder, which sees the whole picture, makes of the hidden part. The *cosine*
# says how alike a predicted and a target token are: 1 where they point the same way, 0 where they have nothing in common.
# Beside it, that of another image's prediction for the same hole (the control). Only the gap between the two is information
# about *this* picture.

# %%
for scene, own, control in zip(scenes, predictions, controls, strict=True):
    other = own.replaced(control.predicted).cosine.mean()
    print(f"{scene.caption:32} {own.cosine.mean():.3f}   another image's: {other:.3f}")

# %% [markdown]
# ## Where the model was trained to look
#
# In pretraining, four target blocks are hidden at once, and what is left of one large block is the
# context; what is *neither* is not seen and not predicted. From masks like these the model learned to predict.

# %%
generator = torch.Generator().manual_seed(SEED)
mask_figure(ijepa_viz.masks.sample(batch=6, grid=model.grid, generator=generator))

# %% [markdown]
# ## Questions
#
# 1. Which parts of the samples agree with each other, and which do not? What does the model *not* know?
# 2. Is the colour of a hidden head in the prediction? How could you test it?
# 3. The control in orange sometimes looks reasonable. When may it?
#
# <details><summary>Answers</summary>
#
# 1. They agree on what follows from the rest of the scene: where the body ends, which way it faces, its main colours, where
#    the ground begins. They differ in eyes, muzzles, outlines and grain: what the visible part does not settle, the
#    prediction leaves open.
# 2. If all samples have the colour, it is. A sharper test changes the colour of the visible part and nothing else, and
#    sees whether the samples follow; or a linear probe, a very simple classifier, reads the colour from the predicted
#    tokens, with no picture at all (`04_what_the_predictor_knows`).
# 3. Where the two scenes have the same thing there: plain sky, grass, or by chance a creature at that place. A hole like
#    that cannot tell a model that knows from one that does not.
#
# </details>
#
# ## Exercise
#
# Decode the same prediction with **one** sampling step instead of the default: `decoder.sample(predictions[0], 6, steps=1,
# seed=SEED)`. Before you run it: will the samples be sharper or more blurred, and will they differ from each other?

# %%
# Your code.

# %% tags=["solution"]
one_step = decoder.sample(predictions[0], 6, steps=1, seed=SEED)
many_steps = decoder.sample(predictions[0], 6, seed=SEED)


def spread(samples):
    """The standard deviation over the samples, averaged over the hole's pixels."""
    return float(samples.images.std(0)[:, samples.inside].mean())


print(f"spread with 1 step {spread(one_step):.3f}, with {decoder.config.steps} steps {spread(many_steps):.3f}")
assert spread(many_steps) > spread(one_step), "one step must vary less than many"
rows_of_both = [(predictions[0], one_step), (predictions[0], many_steps)]
completion_grid(rows_of_both, names=["1 step", f"{decoder.config.steps} steps"])

# %% [markdown] tags=["solution"]
# One step gives the conditional mean of all plausible completions: a blur, nearly the same every time.
# That is why a decoder that shows what a representation *leaves open* has to be stochastic.

# %% [markdown]
# ## What to take home
#
# A JEPA predicts a representation; pictures of it come from a second network. Believe what samples share, and only where the
# control does not share it.

# %%
# This notebook checks itself.
again = decoder.sample(predictions[0], 6, seed=SEED)
assert torch.equal(again.images, rows[0][1].images), "the same seed must give the same samples"
gap = torch.stack([(r[1].images[:2] - r[2].images[:2]).abs()[:, :, r[1].inside].mean() for r in rows])
assert (gap > 0.02).all(), "shuffling predictions must visibly change what is drawn"
print("All checks passed.")
