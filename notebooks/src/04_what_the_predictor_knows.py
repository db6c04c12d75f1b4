# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What the predictor knows
#
# **Goal.** Inspect one prediction in six ways: error map, retrieval, principal components, every position,
# attribution to context patches, and linear probes of factors. **Time.** Twenty minutes; each cell runs in seconds on a
# laptop's CPU. **You need** `00_start_here`.
#
# Nothing is decoded here. All measurements are on the predicted tokens, beside controls without information about the
# image: another image's prediction, the mean prediction, a random initialisation.

# %%
import torch

import ijepa_viz
from ijepa_viz import examples
from ijepa_viz.data import menagerie
from ijepa_viz.data.transforms import to_tensor
from ijepa_viz.figures import factor_figure
from ijepa_viz.inspections import INSPECTIONS, InspectionInput
from ijepa_viz.probes.factors import factor_table

SEED = 0
torch.manual_seed(SEED)
# Your own checkpoint goes here: a folder such as "runs/mine/step-00008000", a reference .pth.tar, or a published name.
SOURCE = "menagerie-tiny"
model = ijepa_viz.load_model(SOURCE)
size = model.config.image_size
scenes = examples.drawn_scenes(size)
# Scenes to compare with, of a seed that the model never saw.
others = torch.from_numpy(menagerie.scenes(100, 700, size, seed=1)).permute(0, 3, 1, 2)


def inputs_of(scene):
    """Input of an inspection: a scene with its hole, and other scenes for the controls."""
    return InspectionInput(model, to_tensor(scene.image, size), scene.masks(model.grid), others, scenes=500)


def look(name, scene):
    """Run one inspection on one scene: print its numbers, return its figure."""
    found = INSPECTIONS[name](inputs_of(scene))
    figure = found.pop("figure")
    for key, value in found.items():
        print(f"{key.replace('_', ' '):40} {value:.3f}".removesuffix(".000"))
    return figure


for i, scene in enumerate(scenes):
    print(i, scene.caption)

# %% [markdown]
# ## Error and cosine maps
#
# The cosine of every predicted token with the target's, over the hole, and the same for two controls. A high cosine means
# nothing on its own: the mean prediction of many other scenes may reach it too.
#
# **Try this.** The wolf's legs (`scenes[2]`), then a roof. Which is easier?

# %%
maps = look("maps", scenes[0])
maps

# %% [markdown]
# ## Retrieval
#
# Among six hundred other scenes, which real block is nearest to the predicted one? If the prediction holds "a dog's
# head, golden, facing right", its neighbours should be such heads, though no pixel of this one was seen.

# %%
look("retrieval", scenes[0])

# %% [markdown]
# ## Principal components
#
# The first three principal components of all tokens as colours, common to several images. The hole is filled with the
# prediction; it should continue the colours around it as the real tokens do. At the right, which patches are similar
# to the one with the dot: once for the real token, once for the predicted one.

# %%
look("components", scenes[2])

# %% [markdown]
# ## Every position
#
# Position embeddings alone tell the predictor where to predict. One context can therefore be queried at *every*
# position, and a part classifier, trained on target tokens, applied to each prediction. Where is it uncertain?
#
# Printed below: scene and hole are moved by so many (rows, columns) of patches, and the prediction there is compared
# with the one here. A cosine of 1 would mean that the prediction moves along exactly.

# %%
look("position", scenes[2])

# %% [markdown]
# ## Attribution to context patches
#
# Leave out one context patch after the other and see how far the prediction moves; or take the gradient, which needs fewer
# passes (in the titles) and is not quite the same (the printed rank correlation of the two).

# %%
look("ablation", scenes[0])

# %% [markdown]
# ## Linear probes of factors
#
# The scenes are drawn, so there is ground truth for every hidden part. Linear probes read it from the predicted tokens,
# and from representations with less, or more, information. Species, part and facing are marginals of one joint probe;
# `facing_alone` is a probe of facing by itself. This is a small edition (1000 scenes to
# learn from); the full one is `ijepa-viz evaluate menagerie-tiny --probe factors --data menagerie:count=64000`, which takes
# minutes instead of seconds.

# %%
LEARNED, TESTED = 1000, 400
table = factor_table(model, train=LEARNED, test=TESTED)
print(f"per cent right on {TESTED} scenes, by probes that learned from {LEARNED}")
for factor, row in table.items():
    cells = "  ".join(
        f"{name} {100 * row[name]['accuracy']:3.0f}" for name in ("random_init", "context_mean", "predicted", "target")
    )
    print(f"{factor:18} most frequent {100 * row['most_frequent']:3.0f}  {cells}")

# %% tags=["cover"]
factor_figure(table, f"{SOURCE}, small edition")

# %% [markdown]
# `menagerie-tiny` **keeps** species, part, facing and colour; it **drops** texture phase, speckle and the exact
# background, which is what a joint-embedding predictive architecture promises: it need not represent what cannot be
# predicted. (This is one small I-JEPA, trained with a variance-covariance term that the paper's does not have.)
#
# ## Questions
#
# 1. `context mean` knows the colour nearly as well as the prediction does. Why is that no surprise?
# 2. The target encoder has *seen* the hole. For which factors does the prediction come close to it?
# 3. The position-only control knows something about "part". How can it?
# 4. In the full edition facing is read better together with species and part than alone. A head that looks left and a tail
#    of a creature that looks left: what do their blocks have in common?
#
# <details><summary>Answers</summary>
#
# 1. Most of a creature shows outside its hole, in the same colour. Averaging the context keeps colour; it loses where things
#    are, which species and part need more.
# 2. For colour, species and part, which the visible rest determines. It stays behind for pose, and no representation has the
#    texture's phase or the speckle, the target encoder's included.
# 3. Heads are above legs: where the hole is says something about what is in it.
# 4. Nearly nothing: a head that looks left and a tail of the same animal are different pictures. A probe of facing alone
#    needs one direction that fits all parts of all species; a joint probe may use another for each.
#
# </details>
#
# ## Exercise
#
# Is the mean prediction useless? Compare its cosine with the target with the prediction's, for a hole over plain sky:
# `INSPECTIONS["maps"](InspectionInput(model, image, ijepa_viz.Masks.from_block(model.grid, 0, 2, 2, 3), others))`.

# %%
# Your code.

# %% tags=["solution"]
sky = InspectionInput(
    model, to_tensor(scenes[0].image, size), ijepa_viz.Masks.from_block(model.grid, 0, 2, 2, 3), others
)
found = INSPECTIONS["maps"](sky)
print(f"sky: prediction {found['prediction_cosine']:.3f}, mean prediction {found['mean_prediction_cosine']:.3f}")

# %% [markdown] tags=["solution"]
# Not useless, but well behind in both places (the next cell prints the head's). Even over plain sky the prediction knows more
# than "sky": which colour this one has, where the light comes from. A prediction says something where it beats the mean.

# %%
head = INSPECTIONS["maps"](inputs_of(scenes[0]))
print(
    f"over the head: prediction {head['prediction_cosine']:.3f}, mean prediction {head['mean_prediction_cosine']:.3f}, "
    f"another image's {head['another_image_cosine']:.3f}"
)

# %% [markdown]
# ## What to take home
#
# A number about a prediction says something only beside the same number for a prediction that knows nothing of this image.

# %%
# This notebook checks itself.
for factor in ("texture_phase", "speckle"):
    assert table[factor]["predicted"]["accuracy"] < table[factor]["most_frequent"] + 0.12, factor
if SOURCE == "menagerie-tiny":  # thresholds of this model only
    assert head["prediction_cosine"] > head["another_image_cosine"] + 0.1, "a prediction must fit its own image better"
    for factor in ("species", "part", "colour"):
        assert table[factor]["predicted"]["low"] > table[factor]["random_init"]["high"], factor
print("All checks passed.")
