"""Export of a widget as one HTML file without kernel and network, with precomputed results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from ijepa_viz.widgets.picture_widget import PictureWidget
from ijepa_viz.widgets.prediction_explorer import PredictionExplorer

# anywidget's model without a kernel. A change of the mask or of the menu is answered by the precomputed result whose
# block is nearest to the painted one.
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>%(title)s</title>
<style>:root { color-scheme: light dark; } body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem;
margin: 1.5rem auto; padding: 0 1rem; } %(style)s</style></head>
<body><main><h1>%(title)s</h1><p>%(words)s</p><div id="widget"></div></main>
<script type="application/json" id="state">%(state)s</script>
<script type="application/json" id="answers">%(answers)s</script>
<script type="module">
const answers = JSON.parse(document.getElementById("answers").textContent);
class Model {
  constructor(state) { this.state = state; this.listeners = {}; this.start = state.mask || ""; }
  get(name) { return this.state[name]; }
  set(name, value) {
    if (this.state[name] === value) return;
    this.state[name] = value;
    (this.listeners["change:" + name] || []).slice().forEach((react) => react());
  }
  on(name, react) { (this.listeners[name] ||= []).push(react); }
  off(name, react) { this.listeners[name] = (this.listeners[name] || []).filter((other) => other !== react); }
  save_changes() {
    if (!answers.length) return;
    const wanted = this.get("mask"), before = this.answered || this.start;
    const show = this.get("show");
    // The newly painted patches decide; without any, all hidden ones.
    const fresh = [...wanted].map((c, i) => c === "1" && before[i] !== "1");
    const asked = fresh.some(Boolean) ? fresh : [...wanted].map((c) => c === "1");
    if (!asked.some(Boolean)) {
      this.answered = wanted;
      for (const name of ["pictures", "cosines", "story"]) this.set(name, []);
      this.set("caption", "Paint a hole to see what is expected there.");
      return;
    }
    const known = answers.filter((a) => a.show === show);
    if (!known.length) { this.set("error", "This page holds no answers for that choice: open the notebook."); return; }
    const [, cols] = this.get("grid");
    const middle = (hides) => {
      const at = hides.flatMap((h, i) => (h ? [[Math.floor(i / cols), i %% cols]] : []));
      return [0, 1].map((axis) => at.reduce((sum, p) => sum + p[axis], 0) / at.length);
    };
    const [row, col] = middle(asked);
    const away = (answer) => {
      const [r, c] = middle([...answer.mask].map((x) => x === "1"));
      return (r - row) ** 2 + (c - col) ** 2;
    };
    const best = known.reduce((a, b) => (away(b) < away(a) ? b : a));
    this.answered = best.mask;
    this.set("mask", best.mask);
    for (const [name, value] of Object.entries(best.traits)) this.set(name, value);
    this.set("error", "");
    this.set("result_seq", this.get("seq"));
  }
}
const model = new Model(JSON.parse(document.getElementById("state").textContent));
window.model = model;
%(script)s
</script></body></html>
"""
# A page with answers has them for its own holes only: a press places the nearest. What would draw another is not shown.
_ONLY_PRESS = """#widget .painting > .bar:first-child, #widget button[title^="Hide what is shown"],
#widget label:has(> input[type=checkbox]:disabled) { display: none; }"""
# Traits of the communication with a kernel; a page without them does not wait for one.
_KERNEL = ("heard", "uploads", "layout", "gallery", "game_round", "finds_faces")


def offline_page(
    widget: PictureWidget, title: str, words: str = "", answers: Sequence[Mapping[str, Any]] | None = None
) -> str:
    """Export the current state of ``widget`` as one HTML text without requests.

    Args:
        widget: any widget of this package. title, words: above it.
        answers: of :func:`precomputed`, for a painter; without them it is shown and can be painted on.
    """
    state = {
        name: value for name, value in widget.get_state().items() if not name.startswith("_") and name not in _KERNEL
    }
    if answers:
        state["paper_masks"] = []
    # Choices that this page can answer: the widget offers no others.
    state["offline"] = {"shows": list(dict.fromkeys(str(answer["show"]) for answer in answers or ()))}
    # The script is a module of its own; here it becomes part of the page's.
    script = str(widget._esm).replace("export default {", "const widget = {")
    script += '\nwidget.render({ model, el: document.getElementById("widget") });'
    return _PAGE % {
        "title": escape(title), "words": escape(words), "script": script.replace("</script", "<\\/script"),
        "style": _ONLY_PRESS if answers else "",
        "state": _json(state), "answers": _json(list(answers or [])),
    }  # fmt: skip


def precomputed(
    explorer: PredictionExplorer,
    holes: Sequence[np.ndarray],
    shows: Sequence[str] = ("predicted", "other"),
) -> list[dict[str, Any]]:
    """Results of ``explorer`` for each mask and each choice of the menu, for :func:`offline_page`.

    Args:
        holes: masks, (rows, cols) bool each. shows: choices of the menu.

    Raises:
        ValueError: a mask that hides nothing or everything.
    """
    found = []
    for hole in holes:
        for show in shows:
            traits, mask = explorer.answer(hole, show)
            found.append({"show": show, "mask": mask, "traits": traits})
    return found


def _json(value: Any) -> str:
    # Inside <script> only "</" could end it early.
    return json.dumps(value).replace("</", "<\\/")
