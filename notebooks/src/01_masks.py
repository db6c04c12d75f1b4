# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Masks: what is hidden decides what is learned
#
# **Goal.** See how I-JEPA's multi-block masks are drawn, what the alternatives look like, and what the reference
# code's sampler does to the edges and the bottom of every image.
# **Time.** Fifteen minutes; every cell runs in seconds on a laptop's CPU. **You need** `00_start_here`.
#
# In pretraining every image gets a few **target** blocks, whose representations are to be predicted, and a
# **context**, the patches that the predictor may see. The paper's ablation (table 6, 1 % of ImageNet's labels) says
# how much hangs on it: multi-block 54.2 %, rasterized 15.5 %, one block 20.2 %, random patches 17.6 %.

# %%
import torch

from ijepa_viz import masks
from ijepa_viz.figures import Figure, mask_figure
from ijepa_viz.widgets import MaskPainter, MaskSampler

SEED = 0


def drawn(strategy, grid=(14, 14), batch=128, seed=SEED, **options):
    """A batch of masks from its seed."""
    return masks.sample(strategy, batch=batch, grid=grid, generator=torch.Generator().manual_seed(seed), **options)


# %% [markdown]
# ## Set the options
#
# Blue is context; each target block has a warm colour and a hatch. Below, how often each patch is context over 256
# masks, and how many context patches a mask has.
#
# **Try this**
# 1. One target block instead of four. The paper's ablation: 9.0 % with one, 22.0 with two, 48.5 with three, 54.2 with
#    four. What becomes of the context?
# 2. Make the targets tiny (`largest target` 0.05). Could a model guess them from the patches next to them?
# 3. Switch *mode* to **faithful** and look at the bottom rows.

# %%
sampler = MaskSampler((14, 14))
sampler

# %% [markdown]
# ## The four strategies of the paper's ablation

# %%
strategies = {name: drawn(name) for name in ("multiblock", "rasterized", "block", "random")}


def named(name):
    """Six masks of a strategy, below its name."""
    shown = mask_figure(strategies[name])
    shown.suptitle(name, fontsize=11)
    return shown


named("multiblock")

# %%
named("rasterized")

# %%
named("block")

# %%
named("random")

# %% [markdown]
# Random patches leave a visible neighbour beside most hidden ones: much of the task can be solved by looking next door.
# Large blocks ask what *belongs* there. How many hidden patches have a visible neighbour?

# %%


def with_a_visible_neighbour(found):
    """Share of target patches that touch a context patch on one of their four sides."""
    rows, cols = found.grid
    seen = torch.zeros(len(found), rows * cols)
    seen.scatter_add_(1, found.context, found.valid.float())
    padded = torch.nn.functional.pad(seen.clamp(max=1).view(-1, rows, cols), (1, 1, 1, 1))
    beside = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return float((beside.flatten(1) > 0).float().gather(1, found.targets.flatten(1)).mean())


for name, found in strategies.items():
    print(f"{name:12} {100 * with_a_visible_neighbour(found):3.0f} % of the hidden patches have a visible neighbour")

# %% [markdown]
# ## What the reference sampler does
#
# Two habits of the reference code decide where a context patch can be. Its blocks never reach the **last row and the last
# column** of the grid. And contexts of one batch have different lengths: it truncates them all to the shortest **in raster
# order**, from the top left on, so the removed patches are always at the bottom of the image. `mode="faithful"` does the
# same; `mode="unbiased"`, our default, lets blocks lie anywhere and pads instead.

# %% tags=["cover"]
modes = {mode: drawn("multiblock", mode=mode) for mode in ("unbiased", "faithful")}


def context_share(found):
    """(rows, cols): how often each patch is context."""
    seen = torch.zeros(len(found), found.num_patches)
    return seen.scatter_add_(1, found.context, found.valid.float()).mean(0).view(found.grid)


figure = Figure(
    "How often each patch is context, unbiased and as in the reference code.",
    figsize=(7.5, 3.4),
    layout="constrained",
)
for axis, (mode, found) in zip(figure.subplots(1, 2), modes.items(), strict=True):
    image = axis.imshow(context_share(found), vmin=0, vmax=1, cmap="viridis")
    axis.set_title(f"{mode}: {int(found.valid.sum(1).float().mean())} of 196 patches")
    axis.set_xticks([])
    axis.set_yticks([])
figure.colorbar(image, ax=figure.axes, label="how often a patch is context")
figure

# %%
for mode, found in modes.items():
    share = context_share(found)
    kept = 100 * found.valid.sum(1).float().mean() / found.num_patches
    top, bottom = (100 * part.sum() / share.sum() for part in (share[:3], share[-3:]))
    print(
        f"{mode:9} {kept:3.0f} % of the patches are context; {top:.0f} % of it in the top 3 rows, {bottom:.0f} % in the bottom 3"
    )
    print(f"{'':9} a patch of the last row is context in {share[-1].mean():.2f} of the images,")
    print(f"{'':9} one of the last column in {share[:, -1].mean():.2f}, any patch in {share.mean():.2f}")
eight = drawn("multiblock", (8, 8), mode="faithful")
share = context_share(eight)
print(
    f"on an 8x8 grid faithful keeps {int(eight.valid.sum(1).float().mean())} of 64 patches, {100 * share[:3].sum() / share.sum():.0f} % in the top 3 rows"
)

# %% [markdown]
# ## Draw one yourself
#
# *Draw one for me* gives the targets of pretraining, seed by seed; *Files* saves a mask for `Masks.from_json`.

# %%
from ijepa_viz import examples

painter = MaskPainter(examples.photographs()[0].image, (8, 8), drawn("multiblock", (8, 8), 1).hidden[0].numpy())
painter

# %% [markdown]
# ## Questions
#
# 1. Why may target blocks overlap each other, but never the context?
# 2. On an 8x8 grid the faithful sampler keeps few context patches (the last printed line). Which part of a photograph are
#    they from?
# 3. What would a model learn about the sky, and what about legs, from the faithful sampler?
# 4. By the share of visible neighbours *rasterized* should be best; in the paper's table it is the worst. What does this
#    share not measure?
#
# <details><summary>Answers</summary>
#
# 1. Two targets that overlap are two questions about the same patch, which costs nothing. A target that is context is a
#    question whose answer is in view: the loss falls, and nothing is learned.
# 2. From the top: usually sky, ceiling or background, seldom the subject.
# 3. It sees sky as context in almost every image and legs almost never, so it learns to predict *from* sky, and seldom from
#    what stands on the ground. Legs are still targets, except in the last row.
# 4. Whether what is visible is *enough*. A rasterized context is one quarter of the picture, on one side of everything that is
#    asked: a task can be too hard to learn from as well as too easy. Multi-block hides large parts and leaves a large context
#    around them.
#
# </details>
#
# ## Exercise
#
# On small grids the faithful sampler does something worse than starving the bottom. Find out, on a 4x4 grid, in what
# share of the images a target patch is also context: the answer is given away. (`drawn("multiblock", (4, 4), mode="faithful")`
# has `context`, `valid` and `targets`.)

# %%
# Your code.

# %% tags=["solution"]
small = drawn("multiblock", (4, 4), mode="faithful")


def leaks(found):
    """For each image, whether one of its target patches is visible."""
    seen = torch.zeros(len(found), found.num_patches).scatter_add_(1, found.context, found.valid.float())
    return seen.gather(1, found.targets.flatten(1)).sum(1) > 0


print(f"faithful: {100 * leaks(small).float().mean():.0f} % of the images leak")
print(f"unbiased: {100 * leaks(drawn('multiblock', (4, 4))).float().mean():.0f} %")
assert leaks(small).float().mean() > 0.4
assert not leaks(drawn("multiblock", (4, 4))).any(), "unbiased never leaks"

# %% [markdown] tags=["solution"]
# When too little context is left, the reference sampler puts target regions back into it. It logs a warning when it does,
# and training goes on: on a small grid the log is full of it, and the task is partly given away.

# %% [markdown]
# ## What to take home
#
# The mask *is* the task. Large targets far from the context ask for meaning; scattered ones can be answered next door.
# Where a sampler cannot put a patch, a model learns nothing from it: look at the map of a sampler before a long run.

# %%
# This notebook checks itself.
assert with_a_visible_neighbour(strategies["random"]) > 2 * with_a_visible_neighbour(strategies["multiblock"])
share = context_share(modes["faithful"])
assert share[:3].sum() > 10 * share[-3:].sum(), "faithful starves the bottom rows"
even = context_share(modes["unbiased"])
assert abs(float(even[:3].sum() / even[-3:].sum()) - 1) < 0.2, "unbiased favours no place"
assert context_share(modes["faithful"])[-1].max() == context_share(modes["faithful"])[:, -1].max() == 0
assert context_share(modes["unbiased"])[-1].min() > 0.1, "unbiased reaches the last row"
print("All checks passed.")
