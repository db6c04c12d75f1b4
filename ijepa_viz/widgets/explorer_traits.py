"""State that the explorer's page and kernel share: settings, samples, story, and rounds of the game."""

from __future__ import annotations

import traitlets

from ijepa_viz.widgets.explorer_answer import SHOW
from ijepa_viz.widgets.mask_painter import MaskPainter

_MOST_SAMPLES = 24


class ExplorerTraits(MaskPainter):
    """A painter with the state of :class:`ijepa_viz.widgets.PredictionExplorer`."""

    samples = traitlets.Int(6, min=1, max=_MOST_SAMPLES).tag(sync=True)
    most_samples = traitlets.Int(_MOST_SAMPLES, read_only=True).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    steps = traitlets.Int(0, help="0 is the decoder's own default").tag(sync=True)
    guidance = traitlets.Float(1.0).tag(sync=True)
    show = traitlets.Enum(list(SHOW), "predicted").tag(sync=True)
    choice = traitlets.Unicode("").tag(sync=True)
    # Names of all models, and of those that fit the picture.
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    choices = traitlets.List(traitlets.Unicode()).tag(sync=True)
    pictures = traitlets.List(traitlets.Unicode()).tag(sync=True)
    # The picture as it is, at the samples' resolution.
    truth = traitlets.Unicode("").tag(sync=True)
    # Row of pictures, each {"name", "picture", "kind"}, and which one is shown.
    gallery = traitlets.List(traitlets.Dict()).tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)
    # Stations of :func:`ijepa_viz.widgets.explorer_story.tell`; they come after the samples.
    story = traitlets.List(traitlets.Dict()).tag(sync=True)
    # Number of the round that the page asked for, and what it got:
    # {"number", "sides": [[picture, ...], [picture, ...]], "model": 0 or 1, "control", "hole", "truth",
    # "candidates": [block, ...], "right": which of them is the truth's}.
    game = traitlets.Int(0).tag(sync=True)
    game_round = traitlets.Dict().tag(sync=True)
    score = traitlets.List(traitlets.Bool()).tag(sync=True)
    # Of each block that was picked before the reveal, {"right", "of": number of candidates}.
    picks = traitlets.List(traitlets.Dict()).tag(sync=True)
    # Figure that the page asked for, {"number", "ending"}, and what it got: {"number", "name", "type", "content" in
    # base64} or {"number", "error"}.
    figure_wanted = traitlets.Dict().tag(sync=True)
    figure_file = traitlets.Dict().tag(sync=True)
    # Picture that the page is about to crop, {"number", "picture"}, and where its cat's face is, {"number", "part"}.
    finds_faces = traitlets.Bool(False).tag(sync=True)
    face_wanted = traitlets.Dict().tag(sync=True)
    face_found = traitlets.Dict().tag(sync=True)
    # Mask of the shown samples (``mask`` may be newer), and the colour of its line.
    hole = traitlets.Unicode("").tag(sync=True)
    line = traitlets.Unicode("").tag(sync=True)
    caption = traitlets.Unicode("").tag(sync=True)
    # (N,), the cosine of each hidden patch's predicted and target token; -2 where nothing is hidden.
    cosines = traitlets.List(traitlets.Float()).tag(sync=True)
    # Tokens as colours, each {"name", "picture", "words"}: of every sample, in the order of ``pictures``, and, once,
    # predicted and target tokens and where the samples agree.
    token_tiles = traitlets.List(traitlets.Dict()).tag(sync=True)
    reference_tiles = traitlets.List(traitlets.Dict()).tag(sync=True)
    agreement = traitlets.Unicode("").tag(sync=True)
    no_tokens = traitlets.Unicode("Nothing is sampled yet.", help="why there are no tokens").tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)
    result_seq = traitlets.Int(-1).tag(sync=True)
