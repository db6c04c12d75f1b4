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
# **Goal.** Ask a prediction six questions with instruments, not adjectives: how good, where, near to what, of what
# kind, hanging on which patches, and holding which facts. **Time.** Twenty minutes; each cell runs in seconds on a
# laptop's CPU. **You need** `00_start_here`.
#
# No picture here is decoded. Everything is read from the predicted tokens themselves, beside controls that know
# nothing of the image: another image's prediction, the mean prediction, a random initialisation.

# %%
import torch

import ijepa_viz
from ijepa_viz import examples
from ijepa_viz.data import menagerie
from ijepa_viz.data.transforms import to_tensor
from ijepa_viz.figures import factor_figure
from ijepa_viz.inspections.inspection import LOOKS, Question
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


def ask(scene):
    """The question about a scene's hole."""
    return Question(model, to_tensor(scene.image, size), scene.masks(model.grid), others, scenes=500)


def look(name, scene):
    """One of the instruments on one scene: prints its numbers, returns its figure."""
    found = LOOKS[name](ask(scene))
    figure = found.pop("figure")
    for key, value in found.items():
        print(f"{key.replace('_', ' '):40} {value:.3f}")
    return figure


for i, scene in enumerate(scenes):
    print(i, scene.caption)

# %% [markdown]
# ## How good, and where
#
# The cosine of every predicted token with the target's, over the hole, and the same for two controls. A cosine of 0.7
# means nothing on its own: the mean prediction of many other scenes may reach it too.
#
# **Try this.** The wolf's legs (`scenes[2]`), then a roof. Which is easier?

# %%
maps = look("maps", scenes[0])
maps

# %% [markdown]
# ## Near to what
#
# Among six hundred other scenes, which real block is nearest to the predicted one? If the prediction holds "a dog's
# head, golden, facing right", its neighbours should be such heads, though no pixel of this one was seen.

# %%
look("retrieval", scenes[0])

# %% [markdown]
# ## Of what kind
#
# The first three principal components of all tokens as colours, common to several images. The hole is filled with the
# prediction; it should continue the colours around it as the real tokens do. At the right, which patches are similar
# to the one with the dot: once for the real token, once for the predicted one.

# %%
look("components", scenes[2])

# %% [markdown]
# ## Where
#
# The predictor is told where to look by position tokens only. So it can be asked about *every* place with the same
# context, and a reader trained on real tokens says which part it expects there. Where is it undecided?

# %%
look("position", scenes[2])

# %% [markdown]
# ## Hanging on which patches
#
# Leave out one context patch after the other and see how far the prediction moves; or take the gradient, which is much
# cheaper and not the same.

# %%
look("ablation", scenes[0])

# %% [markdown]
# ## Holding which facts
#
# The scenes are drawn, so the truth about every hidden part is known. Linear probes ask the predicted tokens for it,
# and ask the same of representations that should know less, or more. Species, part and facing are read off one probe
# that names all three; `facing_alone` is a probe that is asked for nothing else. This is a small edition (1000 scenes to
# learn from); the full one is `ijepa-viz evaluate menagerie-tiny --probe factors --data menagerie:count=64000`, which takes
# 24 minutes on a slow machine.

# %%
table = factor_table(model, train=1000, test=400)
for factor, row in table.items():
    cells = "  ".join(
        f"{name} {100 * row[name]['accuracy']:3.0f}" for name in ("random_init", "context_mean", "predicted", "target")
    )
    print(f"{factor:18} most frequent {100 * row['chance']:3.0f}  {cells}")

# %% tags=["cover"]
factor_figure(table, f"{SOURCE}, small edition")

# %% [markdown]
# `menagerie-tiny` **keeps** species, part, facing and colour; it **drops** texture phase, speckle and the exact
# background, which is what a joint-embedding predictive architecture promises: it need not represent what nobody can
# predict.
#
# ## Questions
#
# 1. `context mean` knows the colour nearly as well as the prediction does. Why is that no surprise?
# 2. The target encoder has *seen* the hole. For which factors does the prediction come close to it?
# 3. The position-only control knows something about "part". How can it?
# 4. In the full edition facing is read better together with species and part than alone. A head that looks left and a tail
#    of a creature that looks left: what do their blocks have in common?
#
# ## Exercise
#
# Is the mean prediction useless? Compare its cosine with the target, place by place, with the prediction's, for a hole
# over plain sky.

# %% tags=["solution"]
sky = Question(model, to_tensor(scenes[0].image, size), ijepa_viz.Masks.from_block(model.grid, 0, 2, 2, 3), others)
found = LOOKS["maps"](sky)
print(f"sky: prediction {found['prediction_cosine']:.3f}, mean prediction {found['mean_prediction_cosine']:.3f}")
head = LOOKS["maps"](ask(scenes[0]))
print(f"head: prediction {head['prediction_cosine']:.3f}, mean prediction {head['mean_prediction_cosine']:.3f}")

# %%
# This notebook checks itself.
for factor in ("texture_phase", "speckle"):
    assert table[factor]["predicted"]["accuracy"] < table[factor]["chance"] + 0.12, factor
if SOURCE == "menagerie-tiny":  # what another model knows is for its numbers to say
    assert head["prediction_cosine"] > head["another_image_cosine"] + 0.1, "a prediction must know its own image"
    for factor in ("species", "part", "colour"):
        assert table[factor]["predicted"]["low"] > table[factor]["random_init"]["high"], factor
print("All checks passed.")
