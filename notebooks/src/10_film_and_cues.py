# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Films and cues: what happens next, and what a sentence changes
#
# **Goal.** See what a small JEPA of films predicts of a film's future: what follows from the frames, what stays open, and what happens
# when a sentence says how it goes on. **Time.** A lesson of three quarters of an hour; the cells run in about a minute.
# **You need** `00_start_here`; `05_decoder` explains samples.

# %%
from base64 import b64encode

import numpy as np
import torch
from IPython.display import HTML, display

import ijepa_viz
from decoders import load_decoder
from ijepa_viz.cli.decoder_of import decoder_of
from ijepa_viz.data.menagerie.film_clip import film
from ijepa_viz.data.menagerie.film_events import OPEN
from ijepa_viz.data.menagerie.film_sentences import SPECIES_WORDS
from ijepa_viz.figures import Figure, film_grid, film_places_figure
from ijepa_viz.figures.film_loops import Panel, encoded_loop, loop_frames
from ijepa_viz.film_prediction import predict_film
from ijepa_viz.masks import Masks
from ijepa_viz.probes.film_measures import energy_aurocs, place_errors
from ijepa_viz.probes.film_reader import ReaderOptions, fit_reader, read
from ijepa_viz.probes.film_tokens import energies, predicted_tokens, share_of_the_way, target_tokens
from ijepa_viz.probes.film_truth import TEST_SEED, TRAIN_SEED, draw_futures, twins_of
from ijepa_viz.widgets import FilmExplorer

MODEL = "film-tiny"
SEED = 0
model = ijepa_viz.load_model(MODEL).eval()
try:
    decoder = load_decoder(decoder_of(MODEL))
except FileNotFoundError:
    decoder = None
    print("This model has no decoder: predicted tokens are shown as tints, and nothing is drawn.")

# %% [markdown]
# ## A picture is a film of one step
#
# An I-JEPA cuts a picture into patches, one token each. A V-JEPA ([arXiv 2404.08471](https://arxiv.org/abs/2404.08471)) cuts a film into
# **tubelets**: a patch of a few frames at once. All else stays: hide some tokens, encode the rest, predict the hidden ones *in
# representation space*. A picture is the special case of one step.
#
# V-JEPA hides **tubes**, the same patches in all frames. This model mostly learned from another mask: the **future**. And it has
# learned less than a V-JEPA: its encoder is that of a model of *pictures*, which reads every step by itself; time is the predictor's
# alone, as in V-JEPA 2-AC ([arXiv 2506.09985](https://arxiv.org/abs/2506.09985)).

# %%
config = model.config
rows, cols = model.grid
print(f"{config.frames} frames of {config.image_size} pixels, {config.tubelet} frames a tubelet")
print(f"{config.steps} steps x {rows} x {cols} patches = {config.steps * rows * cols} tokens")

example = film(0, config.image_size, TEST_SEED, config.frames)
tube = torch.zeros(1, config.steps, rows, cols, dtype=torch.bool)
tube[:, :, rows // 4 : 3 * rows // 4, cols // 4 : 3 * cols // 4] = True
masks_of = {"future": Masks.future(model.grid, config.steps, config.steps // 2), "tube": Masks.from_array(tube)}


def strip(axes, frames, name, hidden=None):
    """One row of frames, every tubelet's last one, with what is hidden in grey."""
    for i, axis in enumerate(axes):
        number = (i + 1) * config.tubelet - 1
        picture = np.array(frames[number])
        if hidden is not None:
            picture[hidden[number]] = 210
        axis.imshow(picture, interpolation="nearest")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel(f"{number + 1}", fontsize=7, labelpad=1)
    axes[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)


figure = Figure(
    "A film, and two masks of it: the future, and a tube through all frames.", figsize=(9, 3.7), layout="constrained"
)
axes = figure.subplots(3, config.steps)
strip(axes[0], example.frames, "film")
for row, (name, masks) in zip(axes[1:], masks_of.items(), strict=True):
    strip(row, example.frames, name, masks.hidden_pixels(config.patch_size, config.tubelet)[0].numpy())
figure

# %% [markdown]
# **Guess first.** With a tube, the frames around the hidden place show how the creature walks in *and* out. With the future they do
# not. Which is the harder task, and which one makes a model learn how things move?
#
# ## The rules of the world
#
# The films are drawn, so we know what can happen. Some futures **follow**: a creature that walks keeps its pace, turns round at a wall,
# comes out again from behind a house. Others are **open**: at a flower it stops or goes on, at a signpost it goes left or right, at even
# odds. Nothing in the frames before tells which.

# %%
for (mark, bird), kinds in OPEN.items():
    print(f"{'a bird' if bird else 'an animal'} at a {mark}: {' or '.join(kind.replace('_', ' ') for kind in kinds)}")

tested = draw_futures(config, 120, TEST_SEED)
learned = draw_futures(config, 300, TRAIN_SEED)
print(f"{len(tested)} films to test, {int(tested.open.sum())} of them open; {len(learned)} others to fit readers on")


def first_of(story, skipped=0):
    """Number in `tested` of the first film of a story whose first half is seen, with both cues; some passed over."""
    fits = (tested.of(story) & (tested.seen == config.steps // 2)).nonzero().flatten().tolist()
    return [i for i in fits if tested.wrong_cues[i]][skipped]


figure = Figure("Two films, each with both of its outcomes.", figsize=(9, 4.8), layout="constrained")
axes = figure.subplots(4, config.steps)
for pair, story in enumerate(("signpost", "flower")):
    chosen = tested[torch.tensor([first_of(story)])]
    for line, one in enumerate((chosen, twins_of(config, chosen, TEST_SEED))):
        strip(axes[2 * pair + line], one.frames[0].numpy(), f"{story} {'AB'[line]}")
        print(f"{story} {'AB'[line]}: {one.cues[0]}")
figure

# %% [markdown]
# The first frames of A and B are the same, pixel by pixel.
#
# ## What the model predicts: where will it be?
#
# The model sees the frames before the event and predicts the tokens of those after it. Tokens are no places; a small **reader** is
# fitted on predictions for other films and says where the creature stands; since there are others, it is told where this one was seen last. Beside it two guesses that need no model, from the *true* places
# of the seen frames: it stays where it was (*copy last*), or it keeps its velocity. *Real* reads the true future's tokens: no prediction
# can be read better than that.
#
# **Guess first.** Where can a prediction be better than constant velocity, and where never?

# %%
options = ReaderOptions(steps=350, batch=32)
plain, target = predicted_tokens(model, tested), target_tokens(model, tested)


def reader_of(tokens):
    """A reader of places, fitted on tokens of the films that are there for it."""
    return fit_reader(tokens, learned, model.grid, config.tubelet, options)


reader, real_reader = reader_of(predicted_tokens(model, learned)), reader_of(target_tokens(model, learned))
places = {
    "predicted": read(reader, plain, tested).places,
    "real": read(real_reader, target, tested).places,
    "copy_last": tested.copy_last(),
    "constant_velocity": tested.constant_velocity(),
}
place = place_errors(tested, places)
ahead = [h for h in ("1", "4", "8") if h in place["all"]["predicted"]]
print("distance to the true place, image widths" + "".join(f"{h + ' ahead':>12}" for h in ahead))
for name in places:
    print(f"{name.replace('_', ' '):40}" + "".join(f"{place['all'][name][h]['mean']:12.3f}" for h in ahead))
print(f"(one cell of the grid is {1 / cols:.3f} wide)")
limit = place["all"]["real"][ahead[-1]]["mean"]
if limit > place["all"]["copy_last"][ahead[-1]]["mean"]:
    print(f"Even of the true tokens the reader errs by {limit:.3f}: what it cannot read is not the prediction's fault.")

# %%
film_places_figure(place, f"Places read from predicted tokens of {len(tested)} drawn films.")

# %% [markdown]
# Look at the right panel story by story. Constant velocity is exact where a creature walks straight on, and wrong where it turns or
# stops; a model that has learned the rules gains there, or nowhere. The reader saw few films here: the model card has the numbers of
# the whole probe, `ijepa-viz evaluate film-tiny --data menagerie-film --probe film`. It reads an *untrained* model too, and finds the
# creature a few frames ahead as well: part of this is the reader's own work, and only farther ahead, or with a cue, the model's.
#
# ## Between two open futures
#
# The predictor has no dice: one input, one output. Where two futures are equally likely, the squared error is least in the *middle* of
# their tokens. We can look: draw both outcomes, take the target tokens of each, and ask how far along the line from the one
# that does *not* happen (0) to the one that does (1) the prediction lies. Nothing is fitted.
#
# **Guess first.** Where will predictions without a cue lie? And with a sentence that says what happens, or the opposite?

# %%
own = tested[tested.open]
twins = twins_of(config, own, TEST_SEED)
mine, other = target_tokens(model, own), target_tokens(model, twins)
by_cue = {
    "no cue": plain[tested.open],
    "right cue": predicted_tokens(model, own, own.cues),
    "wrong cue": predicted_tokens(model, own, own.wrong_cues),
}
shares = {name: share_of_the_way(tokens, other, mine) for name, tokens in by_cue.items()}
for name, share in shares.items():
    between = ((share > 0.25) & (share < 0.75)).float().mean()
    print(
        f"{name:10} share of the way {share.mean():5.2f}, nearer to the middle than to either: {between:4.0%} of {len(own)}"
    )

# %% [markdown]
# The average of two futures is no future: no film shows a creature that goes half left and half right. It is the right answer to a question
# about an *expectation*, and the wrong one to *what will happen?*
#
# ## A cue makes z concrete
#
# JEPA's drawings have a variable **z**: what the context leaves open. Here z is a sentence, and the predictor reads its words beside the
# tokens. With z, the **energy**, the distance of predicted and true tokens, says how well a caption *fits a film*: lower is better.

# %% tags=["cover"]
energy = {name: energies(tokens, mine) for name, tokens in by_cue.items()}
table = energy_aurocs({"captions": (energy["right cue"], energy["wrong cue"])})
fits = energy["right cue"] < energy["wrong cue"]
print(f"the right caption has the lower energy in {fits.float().mean():.0%} of {len(fits)} films")
captions = table["captions"]
print(f"AUROC over films {captions['auroc']:.2f} [{captions['low']:.2f}, {captions['high']:.2f}], chance is 0.50")
for name, values in energy.items():
    print(f"{name:10} mean energy {values.mean():.4f}")

figure = Figure(
    "Predictions between two futures, and the energy of two captions.", figsize=(9, 3.6), layout="constrained"
)
left, right = figure.subplots(1, 2)
colours = {"no cue": "#009E73", "right cue": "#0072B2", "wrong cue": "#D55E00"}
jitter = torch.rand(len(own), generator=torch.Generator().manual_seed(SEED)) * 0.5 - 0.25
for line, (name, share) in enumerate(shares.items()):
    left.scatter(share, line + jitter, s=9, color=colours[name], alpha=0.7)
    left.plot([share.mean()] * 2, [line - 0.35, line + 0.35], color="black", linewidth=2)
left.set_yticks(range(len(shares)), list(shares))
left.invert_yaxis()
for x in (0, 0.5, 1):
    left.axvline(x, color="#bbbbbb", linewidth=0.8, zorder=0)
left.set_xlabel("share of the way: 0 the other future, 1 what happens")
right.scatter(energy["right cue"], energy["wrong cue"], s=12, color="#0072B2")
ends = [min(right.get_xlim()[0], right.get_ylim()[0]), max(right.get_xlim()[1], right.get_ylim()[1])]
right.plot(ends, ends, color="#bbbbbb", linewidth=0.8, zorder=0)
right.set_xlabel("energy with the right caption")
right.set_ylabel("with the wrong caption")
figure

# %% [markdown]
# Each dot on the right is a film; above the line the true caption fits better.
#
# ## Choose a film, hide, and say how it goes on
#
# Scrub, hide the future from any frame or a hole through all of them, and write a cue for each side; the menu has what fits the film, free
# words work as well. A and B start as *no cue* and a cue. Below: the prediction's error, step by step.

# %%
explorer = FilmExplorer(model, decoder, seed=SEED)
explorer

# %% [markdown]
# ## Samples as loops
#
# The decoder has two stages. The first samples the tokens of all coming steps *together*, so that a creature that goes left in one step
# does not go right in the next. The second draws each step as a picture: it is the decoder of pictures that you know, untouched, since the
# encoder's tokens are those of pictures. One film, three cues; green frames are predicted.
#
# **Look for** what all samples of a row share. Does the creature stay itself? Does it stand in one place or in two? And is the cue followed?

# %%
number = first_of("signpost", skipped=1)  # by day: at dusk the decoder's colours are wrong
half = Masks.future(model.grid, config.steps, config.steps // 2)
cues = {"no cue": "", "right cue": tested.cues[number], "wrong cue": tested.wrong_cues[number]}
print("\n".join(f"{name}: {cue or '-'}" for name, cue in cues.items()))
large = film(int(tested.numbers[number]), 2 * config.image_size, TEST_SEED, config.frames).frames  # to look at
predictions = [predict_film(model, tested.frames[number].numpy(), half, cue, large) for cue in cues.values()]
if decoder is None:
    print("no decoder, no samples")
    shown = FilmExplorer(model, seed=SEED).still()[0]
else:
    drawn = [decoder.sample(prediction, 2, seed=SEED) for prediction in predictions]
    shown = film_grid(list(zip(predictions, drawn, strict=True)), list(cues))
    predicted = tuple(i >= config.frames // 2 for i in range(config.frames))
    whole = predictions[0].picture(drawn[0].images.shape[-2])
    loops = [[Panel(whole, "the film")]]
    loops[0] += [Panel(some.on(whole)[0], name, predicted) for some, name in zip(drawn, cues, strict=True)]
    content = b64encode(encoded_loop(loop_frames(loops))).decode()
    words = "A drawn film as a loop, beside samples without a cue, with the right and with the wrong one."
    display(HTML(f'<img alt="{words}" style="max-width: 100%" src="data:image/webp;base64,{content}">'))
shown

# %% [markdown]
# Compare with the numbers above before you believe a pretty sample: a decoder that knows creatures draws creatures. Small things such as legs
# smear, since the predictor's tokens hold the average of what they may look like.
#
# ## Questions
#
# 1. Why does the predictor not simply choose one of two futures?
# 2. Which guess is unbeatable for a creature that walks straight on, and which story shows that a model knows more?
# 3. A wrong cue pulls the prediction to the other future. Is that a mistake of the model?
# 4. Why are both energies of a film compared, and not the energies of different films?
#
# <details><summary>Answers</summary>
#
# 1. Its loss is a distance to one target at a time. Over many films with equal beginnings the middle has the least of it; a choice would be
#    right half of the time and twice as wrong otherwise.
# 2. Constant velocity from the true places. Walls, landings and returns, where the velocity changes by a rule.
# 3. No. It was asked what the film holds *if* the sentence is true. The frames before do not contradict it.
# 4. Films differ in how hard they are: a large creature changes more tokens. Within one film, only the caption differs.
#
# </details>
#
# ## Exercise
#
# Does the predictor read the *animal's name* in the cue, or only what happens? Take the right cues, put another species into each, and compare
# the energies with those of the right cue and of none.

# %%
# Your code.

# %% tags=["solution"]
known = [word for word in SPECIES_WORDS.values() if word != "house"]


def renamed(cue):
    """The cue with another species of the vocabulary, where it names one."""
    found = [word for word in cue.split() if word in known]
    return cue.replace(found[0], known[(known.index(found[0]) + 1) % len(known)]) if found else cue


names = [renamed(cue) for cue in own.cues]
changed = torch.tensor([new != old for new, old in zip(names, own.cues, strict=True)])
renamed_energy = energies(predicted_tokens(model, own, names), mine)
print(f"{int(changed.sum())} of {len(own)} cues changed, such as {names[int(changed.int().argmax())]!r}")
for name, values in {**energy, "renamed": renamed_energy}.items():
    print(f"{name:10} mean energy {values[changed].mean():.4f}")
costs = [float((values - energy["right cue"])[changed].mean()) for values in (renamed_energy, energy["wrong cue"])]
print(f"another name costs {costs[0]:+.4f}, another happening {costs[1]:+.4f}")
assert changed.any()

# %% [markdown] tags=["solution"]
# Compare both costs. The name is in the frames already, so a predictor has little reason to read it; what happens is nowhere else. A cost of
# the name near zero says that the model uses those words of a cue that *add* something.

# %% [markdown]
# ## What to take home
#
# A film adds time to the same idea. What follows from the frames can be predicted, what does not is averaged, and a cue takes the place of
# z. What your run found:

# %%
far = ahead[-1]
means = {name: place["all"][name][far]["mean"] for name in places}
ranking = sorted((name for name in means if name != "real"), key=means.get)
print(f"{far} frames ahead, from the nearest to the farthest: {', '.join(n.replace('_', ' ') for n in ranking)}")
for story in ("meets_wall", "lands", "hides", "walks"):
    rows_of = place.get(story, {}).get("predicted_minus_constant_velocity", {})
    if far in rows_of:
        point = rows_of[far]
        verdict = "closer" if point["high"] < 0 else "farther" if point["low"] > 0 else "not told apart from it"
        print(f"  {story.replace('_', ' ')}: against constant velocity {verdict} ({point['mean']:+.3f})")
middle = abs(float(shares["no cue"].mean()) - 0.5)
print(f"without a cue predictions lie {middle:.2f} from the middle of both futures, on average")
gap = float(shares["right cue"].mean() - shares["wrong cue"].mean())
moves = "hardly moves" if gap < 0.1 else "moves, by less than half of the way," if gap < 0.5 else "moves"
print(f"a cue {moves} the prediction: right and wrong lie {gap:.2f} of the way apart")

# %% [markdown]
# What does not work: one creature, a plain world, and a small model. Nothing here says that it understands sentences beyond the few words it
# was trained with, nor that a real video would be predicted.

# %%
# This notebook checks itself.
assert torch.equal(own.frames[0, : int(own.frames_seen[0])], twins.frames[0, : int(own.frames_seen[0])])
assert 0.3 < float(shares["no cue"].mean()) < 0.7, "without a cue nothing tells which future happens"
assert gap > 0.02, "a cue must move the prediction towards what it says"
assert float(fits.float().mean()) > 0.6, "the true caption must fit better than the other one"
again = predict_film(model, tested.frames[number].numpy(), half, cues["right cue"])
assert torch.equal(again.predicted, predictions[1].predicted)
print("All checks passed.")
