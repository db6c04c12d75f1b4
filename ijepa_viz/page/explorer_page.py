"""Export of a PredictionExplorer as one HTML file in which the model itself runs, without a kernel."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from ijepa_viz.page.scripts import bundle, inlined_files
from ijepa_viz.runtime.weights import Weights
from ijepa_viz.widgets import PredictionExplorer

# Traits of the communication with a kernel, and of what only a kernel computes.
_KERNEL = ("heard", "uploads", "layout", "game_round", "names", "choices")
# What the engine draws from; "pooled" and "mean" need a kernel.
_SHOWS = ("predicted", "other", "target", "null")

# Side of the pictures of the explorer's row, which are all that the page has of them.
_ROW_SIDE = 64

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>:root {{ color-scheme: light dark; }} body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 76rem;
margin: 1.5rem auto; padding: 0 1rem; }}</style></head>
<body><main><h1>{title}</h1><p>{words}</p><div id="widget"></div></main>
<script type="application/json" id="state">{state}</script>
<script type="application/json" id="files">{files}</script>
<script>globalThis.ijepaFiles = JSON.parse(document.getElementById("files").textContent);
document.getElementById("files").remove();</script>
<script type="module">
{engine}
const widget = (() => {{
{widget}
return widget;
}})();
const model = new module_explorer_model_js.EngineModel(JSON.parse(document.getElementById("state").textContent));
globalThis.model = model;
widget.render({{ model, el: document.getElementById("widget") }});
model.start();
</script></body></html>
"""


def explorer_page(explorer: PredictionExplorer, folder: Path, title: str, words: str = "") -> str:
    """The explorer as one HTML text without requests: any hole and any picture of its row, answered in the browser.

    Args:
        explorer: of the model in ``folder``; its mask, seed, samples and row of pictures are taken over.
        folder: a built page, as of ``make page``: its scripts, ``models/`` and ``ort/`` are put inside.
        title, words: above it.

    Raises:
        FileNotFoundError: a folder that is no built page with a model.
        ValueError: the folder's model has other weights or another grid than the explorer's, or takes larger pictures
            than its row has.
    """
    manifest = folder / "models" / "manifest.json"
    if not manifest.is_file() or not (folder / "explorer_model.js").is_file():
        raise FileNotFoundError(f"{folder} is no page with a model: build one with `make page`.")
    exported = json.loads(manifest.read_text(encoding="utf-8"))
    if list(exported["grid"]) != list(explorer.grid):
        raise ValueError(
            f"The page's model has a grid of {exported['grid']}, the explorer's {list(explorer.grid)}: export the same."
        )
    shown, _ = explorer._pairs[explorer.choice]
    if exported.get("weights_sha256") != Weights(shown).sha256():
        raise ValueError(
            f"{folder} holds {exported.get('model')!r} with other weights than the explorer's model: export the same."
        )
    if max(exported["size"]) > _ROW_SIDE:
        raise ValueError(f"The row's pictures have {_ROW_SIDE} px, and this model takes {exported['size']}.")
    traits = explorer.get_state().items()
    state: dict[str, Any] = {name: value for name, value in traits if not name.startswith("_") and name not in _KERNEL}
    state["offline"] = {"shows": list(_SHOWS), "engine": True}
    if state["show"] not in _SHOWS:
        state["show"] = _SHOWS[0]
    files = inlined_files(folder, "explorer_model.js", ("models", "ort"))
    return _PAGE.format(
        title=escape(title), words=escape(words), state=_json(state), files=_json(files),
        engine=_script(bundle(folder, "explorer_model.js")),
        widget=_script(str(explorer._esm).replace("export default {", "const widget = {")),
    )  # fmt: skip


def _script(text: str) -> str:
    return text.replace("</script", "<\\/script")


def _json(value: Any) -> str:
    # Inside <script> only "</" could end it early.
    return json.dumps(value).replace("</", "<\\/")
