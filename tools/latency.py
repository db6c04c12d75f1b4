"""How fast a hole is answered in JupyterLab, beside the same loop written with ipympl: ``python tools/latency.py``.

Strokes are drawn with the mouse in a headless Chromium. Reported, as medians over strokes: pointer-up to the first
decoded pixels and to the final samples; and pointer move to the painted patch on the screen, at rest and while the
model works. ipympl is in no other way needed: ``pip install -e '.[latency]'``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
from pathlib import Path

import nbformat
from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from conftest import find_browser
from jupyter_lab import browser, lab, open_notebook, run_all, watch

_MODEL = """
import ijepa_viz
from decoders import load_decoder
from ijepa_viz import examples
model, decoder = ijepa_viz.load_model({name!r}), load_decoder({name!r})
image = examples.photographs()[0].image
"""

_OURS = """
from ijepa_viz.widgets import PredictionExplorer
PredictionExplorer(model, decoder, image)
"""

# What one writes with ipympl: events on the figure's canvas, everything drawn by the kernel.
_IPYMPL = """
%matplotlib widget
import matplotlib.pyplot as plt
import numpy as np
from ijepa_viz.data.transforms import to_tensor
from ijepa_viz.masks import Masks
from ijepa_viz.prediction import predict
size, (rows, cols) = model.config.image_size, model.grid
picture = to_tensor(image, size)
hidden = np.zeros((rows, cols), bool)
figure = plt.figure(figsize=(9, 3))
axes = [figure.add_axes([0, 0, 1 / 3, 1])] + [
    figure.add_axes([1 / 3 + (i % 3) * 2 / 9, 0.5 - (i // 3) * 0.5, 2 / 9, 0.5]) for i in range(6)]
for axis in axes:
    axis.set_axis_off()
drawn = [axis.imshow(picture.permute(1, 2, 0)) for axis in axes]
figure.canvas.header_visible = figure.canvas.footer_visible = figure.canvas.toolbar_visible = False
def shade():
    shown = picture.permute(1, 2, 0).numpy().copy()
    shown[hidden.repeat(size // rows, 0).repeat(size // cols, 1)] = 0.6
    drawn[0].set_data(shown)
    figure.canvas.draw_idle()
def paint(event):
    if event.inaxes is axes[0] and event.button == 1:
        hidden[int(event.ydata * rows // size), int(event.xdata * cols // size)] = True
        shade()
def answer(event):
    given = predict(model, picture, Masks.from_array(hidden))
    samples = decoder.sample(given, 6)
    for shown, sample in zip(drawn[1:], samples.on(picture)):
        shown.set_data(sample.permute(1, 2, 0).clamp(0, 1).numpy())
    figure.canvas.draw_idle()
def press(event):
    hidden[:] = False
    paint(event)
figure.canvas.mpl_connect("button_press_event", press)
figure.canvas.mpl_connect("motion_notify_event", paint)
figure.canvas.mpl_connect("button_release_event", answer)
plt.show()
"""

# Both record the same three things; where a canvas is all there is, its pixels are looked at once a frame.
_RECORD_OURS = """() => {
  const strip = document.querySelector('[data-testid=samples]'),
    painter = document.querySelector('[data-testid=painter]');
  const seen = window.seen = { moves: [] };
  document.addEventListener('pointerup', () => { seen.up = performance.now(); seen.first = seen.last = 0; }, true);
  painter.addEventListener('pointermove', (event) => {
    requestAnimationFrame(() => setTimeout(() => seen.moves.push(performance.now() - event.timeStamp)));
  });
  new MutationObserver((changes) => {
    // An attribute that is set to what it was is reported too, and shows nothing new.
    if (!seen.up || !changes.some((c) => c.attributeName === 'src' && c.target.src !== c.oldValue)) return;
    const now = performance.now();
    seen.first ||= now; seen.last = now;
  }).observe(strip, { subtree: true, childList: true, attributeOldValue: true, attributeFilter: ['src'] });
}"""

_RECORD_IPYMPL = """() => {
  const canvas = document.querySelector('.jupyter-matplotlib-canvas-container canvas');
  const seen = window.seen = { moves: [] };
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  const look = (from, to) => {
    let sum = 0;
    const at = (share) => Math.round(canvas.width * share);
    const data = pen.getImageData(at(from), 0, at(to) - at(from), canvas.height).data;
    for (let i = 0; i < data.length; i += 28) sum = (sum * 31 + data[i]) | 0;
    return sum;
  };
  let left = look(0, 0.33), right = look(0.34, 1), asked = [];
  document.addEventListener('pointerup', () => { seen.up = performance.now(); seen.first = seen.last = 0; }, true);
  canvas.parentElement.parentElement.addEventListener('pointermove', (event) => asked.push(event.timeStamp), true);
  const step = () => {
    const now = performance.now(), l = look(0, 0.33), r = look(0.34, 1);
    if (l !== left) { left = l; asked.splice(0).slice(-1).forEach((t) => seen.moves.push(now - t)); }
    if (r !== right) { right = r; if (seen.up) { seen.first ||= now; seen.last = now; } }
    requestAnimationFrame(step);
  };
  step();
}"""


def _stroke(page: Page, box: dict[str, float], row: float) -> None:
    x = [box["x"] + share * box["width"] for share in (0.3, 0.7)]
    y = box["y"] + row * box["height"]
    page.mouse.move(x[0], y)
    page.mouse.down()
    for i in range(1, 13):
        page.mouse.move(x[0] + (x[1] - x[0]) * i / 12, y + (box["height"] * 0.1 if i > 6 else 0))
        page.wait_for_timeout(16)
    page.mouse.up()


def _measure(page: Page, box: dict[str, float], strokes: int) -> dict[str, float]:
    """Medians in milliseconds."""
    found: dict[str, list[float]] = {"first pixels": [], "final samples": [], "painting": [], "painting, busy": []}
    for i in range(strokes + 2):
        page.evaluate("() => { window.seen.moves = []; window.seen.up = 0; }")
        _stroke(page, box, 0.2 + 0.1 * (i % 6))
        at_rest = page.evaluate("() => window.seen.moves")
        # The last change is the final one when nothing has changed for a second.
        page.wait_for_function(
            "() => window.seen.last && performance.now() - window.seen.last > 1000", timeout=60_000, polling=50
        )
        times = page.evaluate("() => [window.seen.first - window.seen.up, window.seen.last - window.seen.up]")
        # A second stroke at once after a first: the model is at work.
        page.evaluate("() => { window.seen.moves = []; window.seen.up = 0; }")
        _stroke(page, box, 0.3)
        page.evaluate("() => { window.seen.moves = []; }")
        _stroke(page, box, 0.85)
        page.wait_for_timeout(300)
        busy = page.evaluate("() => window.seen.moves")
        page.wait_for_function(
            "() => window.seen.last && performance.now() - window.seen.last > 1000", timeout=60_000, polling=50
        )
        if i < 2:  # warming up
            continue
        for name, values in zip(found, ([times[0]], [times[1]], at_rest, busy), strict=True):
            found[name] += values
    return {name: round(statistics.median(values), 1) for name, values in found.items() if values}


def run(name: str, kind: str, strokes: int, chromium: str) -> dict[str, float]:
    """One kind of page, driven in a JupyterLab of its own."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        work.mkdir()
        cells = [_MODEL.format(name=name), _OURS if kind == "ours" else _IPYMPL]
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(text.strip()) for text in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        nbformat.write(notebook, work / "nb.ipynb")
        with lab(work, Path(folder) / "private") as port, browser(chromium) as program:
            page = program.new_page(viewport={"width": 1400, "height": 1000})
            outside = watch(page, port)
            open_notebook(page, port, "nb.ipynb")
            run_all(page)
            if kind == "ours":
                where = page.get_by_test_id("painter")
                where.wait_for(timeout=90_000)
                page.wait_for_function(
                    "() => Number(document.querySelector('[data-testid=samples]').dataset.shown) >= 0", timeout=90_000
                )
            else:
                where = page.locator(".jupyter-matplotlib-canvas-container canvas").first
                where.wait_for(timeout=90_000)
            page.wait_for_timeout(3000)
            where.scroll_into_view_if_needed()
            page.wait_for_timeout(500)
            page.evaluate(_RECORD_OURS if kind == "ours" else _RECORD_IPYMPL)
            box = where.bounding_box()
            assert box is not None
            if kind != "ours":
                box = {**box, "width": box["width"] / 3}
            found = _measure(page, dict(box), strokes)
            if outside:
                raise RuntimeError(f"The page asked for {outside[0]}")
            return found


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description="Pointer to pixels, ours beside ipympl.")
    parser.add_argument("--model", default="wild-tiny")
    parser.add_argument("--strokes", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chromium = find_browser()
    if chromium is None:
        print("latency: no Chrome or Chromium is installed.", file=sys.stderr)
        return 1
    kinds = ["ours"]
    if importlib.util.find_spec("ipympl"):
        kinds.append("ipympl")
    else:
        print("ipympl is not installed, so it is not beside ours: pip install -e '.[latency]'")
    table = {kind: run(options.model, kind, options.strokes, chromium) for kind in kinds}
    print(f"milliseconds, median of {options.strokes} strokes, {options.model}")
    for name in table["ours"]:
        print(f"{name:16} " + "  ".join(f"{kind} {table[kind].get(name, float('nan')):7.1f}" for kind in kinds))
    if options.json:
        options.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
