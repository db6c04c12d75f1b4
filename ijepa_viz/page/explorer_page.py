"""A PredictionExplorer whose model runs in the browser: as one HTML file, and as a frame in a notebook's output."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any, cast

from ijepa_viz.data.fitting import centre_crop
from ijepa_viz.models import IJEPA
from ijepa_viz.page.build import PageSampler
from ijepa_viz.page.models_folder import MANIFEST, check_is_export_of
from ijepa_viz.page.scripts import bundle, inlined_files
from ijepa_viz.prediction import Sampler
from ijepa_viz.widgets import PredictionExplorer
from ijepa_viz.widgets.picture_widget import data_uri

# Traits of the communication with a kernel, and of what only a kernel computes.
_KERNEL = ("heard", "uploads", "layout", "game_round", "names", "choices")
# What the engine draws from; "pooled" and "mean" need a kernel.
_SHOWS = ("predicted", "other", "target", "null")

# Where `make page` writes, in the current folder or one above: notebooks run in one of their own.
_BUILT = Path("out") / "page"

# A notebook with more than this in one output is slow to open and to save.
_MOST_BYTES = 60e6

# Network that only the page's own comparison asks.
_UNUSED = "reconstruct"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>:root {{ color-scheme: light dark; }} body {{ font: 16px/1.5 system-ui, sans-serif; {style} }}</style></head>
<body><main>{above}<div id="widget"></div></main>
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
{framed}
model.start();
</script></body></html>
"""

_ALONE = "max-width: 76rem; margin: 1.5rem auto; padding: 0 1rem;"
# As high as what it holds, and in JupyterLab's theme.
_FRAMED = """const frame = globalThis.frameElement, theme = frame.ownerDocument.body.dataset.jpThemeLight;
if (theme) {
  document.body.dataset.jpThemeLight = theme;
  document.documentElement.style.colorScheme = theme === "true" ? "light" : "dark";
}
new ResizeObserver(() => { frame.style.height = `${document.body.offsetHeight}px`; }).observe(document.body);"""


def explorer_page(explorer: PredictionExplorer, folder: Path, title: str, words: str = "") -> str:
    """The explorer as one HTML text without requests: any hole and any picture of its row, answered in the browser.

    Args:
        explorer: of the model in ``folder``; its mask, seed, samples and row of pictures are taken over.
        folder: a built page, as of ``make page``: its scripts, ``models/`` and ``ort/`` are put inside.
        title, words: above it.

    Raises:
        FileNotFoundError: a folder that is no built page with a model and a runtime.
        ValueError: the folder's model or decoder has other weights than the explorer's.
    """
    above = f"<h1>{escape(title)}</h1><p>{escape(words)}</p>"
    return _html(explorer, folder, escape(title), above, _ALONE, "")


def explorer_frame(explorer: PredictionExplorer, folder: Path) -> str:
    """The explorer as HTML of a notebook's output: a frame that holds all that it needs, and how much that is.

    Args:
        explorer: as of :func:`explorer_page`. folder: of :func:`engine_folder`.

    Raises:
        ValueError: more than 60 MB. And as :func:`explorer_page`.
    """
    html = _html(explorer, folder, "PredictionExplorer", "", "margin: 0;", _FRAMED)
    size = f"{len(html) / 1e6:.0f} MB"
    if len(html) > _MOST_BYTES:
        raise ValueError(
            f"This explorer would put {size} into the notebook, more than {_MOST_BYTES / 1e6:.0f}: export the model "
            'smaller (ijepa-viz export MODEL --onnx FOLDER --weights mixed), or leave engine="browser" out.'
        )
    return (
        f'<iframe title="PredictionExplorer" srcdoc="{escape(html)}" allowfullscreen '
        'style="width: 100%; height: 720px; border: 0"></iframe>'
        f"<p>The model runs in this browser, without the kernel: {size} of this output.</p>"
    )


def engine_folder(page: str | Path | None, model: IJEPA, decoder: Sampler) -> Path:
    """The built page whose engine computes this model and decoder.

    Args:
        page: its folder; None is ``out/page`` in the current folder or the nearest above that has one.

    Raises:
        FileNotFoundError, ValueError: as :func:`explorer_page`.
    """
    here = Path.cwd()
    places = [Path(page)] if page is not None else [above / _BUILT for above in (here, *here.parents)]
    folder = next((place for place in places if (place / "explorer_model.js").is_file()), None)
    if folder is None:
        where = f"{page} is none" if page is not None else f"there is no {_BUILT} here or above"
        raise FileNotFoundError(
            f'The engine "browser" needs a built page, which holds the networks and their runtime, and {where}: run '
            "`make page`, and name its folder as page=."
        )
    _check(folder, model, decoder)
    return folder


def _check(folder: Path, model: IJEPA, decoder: Sampler) -> None:
    models = folder / "models"
    if not (models / MANIFEST).is_file() or not (folder / "explorer_model.js").is_file():
        raise FileNotFoundError(f"{folder} is no page with a model: build one with `make page`.")
    if not hasattr(decoder, "pipeline"):
        raise ValueError(
            f'The engine "browser" draws with exported networks, and a {type(decoder).__name__} cannot be exported: '
            'take a decoder of the package decoders, or leave engine="browser" out.'
        )
    check_is_export_of(models, model, decoder)
    if not (folder / "ort" / "files.json").is_file():
        raise FileNotFoundError(
            f"{folder} has no runtime: python -m ijepa_viz.page.runtime_files {folder / 'ort'} fetches it."
        )


def _html(explorer: PredictionExplorer, folder: Path, title: str, above: str, style: str, framed: str) -> str:
    model, decoder = explorer._pairs[explorer.choice]
    _check(folder, model, decoder)
    traits = explorer.get_state().items()
    state: dict[str, Any] = {name: value for name, value in traits if not name.startswith("_") and name not in _KERNEL}
    state["offline"] = {"shows": list(_SHOWS), "engine": True}
    if state["show"] not in _SHOWS:
        state["show"] = _SHOWS[0]
    # In place of thumbnails: the very pixels that the model sees, and the picture as large as the drawings beside it.
    sizes = {"input": model.config.image_size, "picture": cast(PageSampler, decoder).image_size}
    state["gallery"] = [
        {name: data_uri(centre_crop(one.image, size)) for name, size in sizes.items()}
        | {"name": one.name, "kind": one.kind}
        for one in explorer._row
    ]
    files = inlined_files(folder, "explorer_model.js", ("models", "ort"))
    manifest = json.loads(files[f"models/{MANIFEST}"])
    unused = manifest["graphs"].pop(_UNUSED, None)
    files[f"models/{MANIFEST}"] = json.dumps(manifest | {"autoencoder": None})
    if unused:
        del files[f"models/{unused['file']}"]
    return _PAGE.format(
        title=title, above=above, style=style, framed=framed, state=_json(state), files=_json(files),
        engine=_script(bundle(folder, "explorer_model.js")),
        widget=_script(str(explorer._esm).replace("export default {", "const widget = {")),
    )  # fmt: skip


def _script(text: str) -> str:
    return text.replace("</script", "<\\/script")


def _json(value: Any) -> str:
    # Inside <script> only "</" could end it early.
    return json.dumps(value).replace("</", "<\\/")
