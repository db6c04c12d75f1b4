# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # JEPA against generative, on your hole
#
# **Goal.** Give one picture with one hole to a masked autoencoder and to an I-JEPA, and compare what they answer: the
# pixels, the energies, and what can be read from them. **Time.** Twenty minutes; every cell runs in seconds on a laptop's
# CPU. **You need** `00_start_here`; `02_three_architectures` and `05_decoder` help.
#
# * The **masked autoencoder** answers with pixels. Where it cannot know, it must still draw one thing, and squared error
#   makes that the average of all that might be there.
# * The **I-JEPA** answers with a representation. To see it we decode it: once by its mean (deterministic), and several
#   times with noise (stochastic), which shows what the representation leaves open.
#
# Both have the same encoder and saw the same drawn scenes.

# %%
import torch
from IPython.display import display

import ijepa_viz
from decoders import load_decoder
from decoders.evaluation.ground_truth import QUESTIONS, SHAPE, blocks_asked, learned_eye
from decoders.evaluation.metric import draw, see
from decoders.evaluation.recogniser import as_images, read_out
from ijepa_viz.data import menagerie
from ijepa_viz.data.transforms import denormalise, normalise
from ijepa_viz.figures import Answer, one_hole_figure
from ijepa_viz.models import patchify, unpatchify
from ijepa_viz.widgets import MaskPainter
from train.objectives.objective import open_trained

SEED = 0
model = ijepa_viz.load_model("menagerie-tiny")
decoder = load_decoder("menagerie-tiny")
predictive, generative = open_trained("menagerie-tiny"), open_trained("menagerie-tiny-mae")
size, grid, patch = model.config.image_size, model.grid, model.config.patch_size

# %% [markdown]
# ## Your hole
#
# Paint one over a held-out scene, or take *Draw one for me*: when you let go, both models answer below it. The numbers
# are energies, as multiples of what the truth gets.


# %%
def answers_of(picture, masks, samples=4):
    """Name -> a whole picture with its hole filled, and the prediction behind the decoded ones."""
    batch = normalise(picture)[None]
    patches = patchify(batch, patch)
    patches[0, masks.targets[0, 0]] = generative.draw(batch, masks)[0, 0]
    mae = torch.where(masks.hidden_pixels(patch)[0], denormalise(unpatchify(patches, grid, patch))[0], picture)
    prediction = ijepa_viz.predict(model, picture, masks)
    found = {
        "MAE: pixels": mae.clamp(0, 1),
        "I-JEPA: its mean": decoder.sample(prediction, 1, steps=1, seed=SEED).on(picture)[0],
    }
    for i, sample in enumerate(decoder.sample(prediction, samples, seed=SEED).on(picture)):
        found[f"I-JEPA: sample {i + 1}"] = sample
    other = torch.from_numpy(menagerie.scene(INDEX + 1, size, seed=1).image).permute(2, 0, 1).float() / 255
    control = prediction.replaced(ijepa_viz.predict(model, other, masks).predicted)
    found["control: another\nimage's prediction"] = decoder.sample(control, 1, seed=SEED).on(picture)[0]
    return found, prediction


def energy(objective, picture, masks, candidate):
    """What a model gives to one candidate, over what it gives to the truth."""
    batch, hole = normalise(picture)[None], normalise(candidate)[None]
    return float(objective.energy(batch, masks, hole) / objective.energy(batch, masks, batch))


def side_by_side(masks, read=None):
    """Every answer for one hole with its energies and, with ``read``, what that reads from each picture."""
    found, prediction = answers_of(image, masks)
    answers = []
    for name, picture in found.items():
        lines = [
            f"energy MAE {energy(generative, image, masks, picture):.2f}",
            f"energy I-JEPA {energy(predictive, image, masks, picture):.2f}",
            *(read(picture, masks).values() if read else []),
        ]
        kind = "control" if name.startswith("control") else "predicted"
        title = name if kind == "control" else name.replace(": ", ":\n", 1)
        answers.append(Answer(title, picture, tuple(lines), kind))
    return one_hole_figure(
        prediction, answers, ["energies 1", "", *read(image, masks).values()] if read else ["energies 1"]
    )


# %%
INDEX = 12  # of the scenes that no model here was trained on
image = torch.from_numpy(menagerie.scene(INDEX, size, seed=1).image).permute(2, 0, 1).float() / 255
start = ijepa_viz.Masks.from_block(grid, 3, 4, *SHAPE).hidden[0].numpy()
painter = MaskPainter((image.permute(1, 2, 0) * 255).byte().numpy(), grid, start, uploads=False)
display(painter)
shown = display(side_by_side(painter.masks), display_id=True)
painter.on_hole(lambda masks: shown.update(side_by_side(masks)))

# %% [markdown]
# Read the energies with care. The MAE gives its *own* drawing hardly any, far below the truth's: the drawing is
# exactly what it expects, although nothing in the world looks so blurred. The I-JEPA's lie close to 1 for whatever could
# be there, and rise for the control.
#
# ## What can be read from each
#
# A small convolutional network, trained on real hidden blocks and told nothing of any I-JEPA, reads the pictures. It is
# trained here in a few seconds, so it is less good than the one behind the tables in the README.

# %%
learned = blocks_asked(model, 2500, seed=2001)
eye = learned_eye(model, learned, patch, epochs=6)


def block_pixels(picture, masks):
    """The hidden 3x3 block of a picture, (1, 3, h, w) in [-1, 1] as the recogniser wants it."""
    return unpatchify(patchify(picture[None], patch)[:, masks.targets[0, 0]], SHAPE, patch) * 2 - 1


def read(picture, masks):
    """What the recogniser says of one picture's block: question -> answer."""
    logits = read_out(eye, block_pixels(picture, masks))
    return {name: learned.classes[name][int(logits[name].argmax())] for name in QUESTIONS}


def share_right(blocks, asked):
    """Question -> the share of blocks (n, 3, h, w) that are read as what was there."""
    logits = read_out(eye, blocks)
    right = {}
    for name in QUESTIONS:
        said = [learned.classes[name][i] for i in logits[name].argmax(1).tolist()]
        truth = [asked.classes[name][i] for i in asked.labels[name].tolist()]
        right[name] = sum(a == b for a, b in zip(said, truth, strict=True)) / len(said)
    return right


# %% [markdown]
# For the hole as it is painted above. Only a rectangle of 3x3 patches can be read: the network has seen no other.

# %% tags=["cover"]
masks = painter.masks
rows_cols = masks.hidden[0].nonzero()
extent = tuple((rows_cols.max(0).values - rows_cols.min(0).values + 1).tolist())
readable = extent == SHAPE and len(rows_cols) == SHAPE[0] * SHAPE[1]
side_by_side(masks, read if readable else None)

# %% [markdown]
# ## Over many scenes
#
# Of 300 held-out scenes with a part hidden: how often is species, part, facing and colour of the hidden thing read from
# each answer?

# %%
asked = blocks_asked(model, 300, seed=2005)
batch = normalise(asked.images / 255)
seen = see(model, batch, asked.masks, patch_size=patch)
tokens, places = seen.predicted, seen.places
pixels = denormalise(unpatchify(generative.draw(batch, asked.masks)[:, 0], SHAPE, patch)).clamp(0, 1)
blocks = {
    "real pixels": as_images(seen.clean, SHAPE),
    "MAE: pixels": pixels * 2 - 1,
    "I-JEPA: its mean": as_images(draw(decoder, tokens, places, num_inference_steps=1), SHAPE),
    "I-JEPA: one sample": as_images(draw(decoder, tokens, places), SHAPE),
    "control: another image's prediction": as_images(draw(decoder, tokens.roll(1, 0), places), SHAPE),
}
shares = {name: share_right(pictures, asked) for name, pictures in blocks.items()}
for name, row in shares.items():
    print(f"{name:38}", "  ".join(f"{question} {100 * share:3.0f} %" for question, share in row.items()))

# %% [markdown]
# ## Questions
#
# 1. Where is the MAE sharp, and where is it a blur? What do these places have in common?
# 2. The deterministic decoder of the I-JEPA is a blur as well. What do the samples show that it hides?
# 3. Whose answer would you rather train a classifier on, and whose would you rather print?
#
# ## Exercise
#
# Hide plain sky instead. Which of the two is closer to the true pixels there, and does it matter?

# %% tags=["solution"]
sky = ijepa_viz.Masks.from_block(grid, 0, 3, 2, 3)
over, _ = answers_of(image, sky, samples=1)
hole = sky.hidden_pixels(patch)[0]
for name, picture in over.items():
    print(
        f"{' '.join(name.split()):38} distance from the true pixels {float((picture - image)[:, hole].abs().mean()):.3f}"
    )

# %%
# This notebook checks itself.
found, _ = answers_of(image, masks)
outside = ~masks.hidden_pixels(patch)[0]
assert torch.equal(found["MAE: pixels"][:, outside], image[:, outside]), "only the hole is drawn"
assert energy(generative, image, masks, found["MAE: pixels"]) < 1, "nobody draws what an MAE expects better than itself"
assert shares["real pixels"]["species"] > 0.8
control = shares["control: another image's prediction"]
for name in ("MAE: pixels", "I-JEPA: its mean", "I-JEPA: one sample"):
    assert shares[name]["colour"] > control["colour"] + 0.2, name
print("All checks passed.")
