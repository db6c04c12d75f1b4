"""A widget on a bare page: anywidget's model as far as our scripts use it, without Jupyter and without a kernel."""

from __future__ import annotations

from jupyter_lab import watch
from playwright.sync_api import Browser, Page

from ijepa_viz.widgets.picture_widget import PictureWidget

_MODEL = """
class Model {
  constructor(state) { this.state = state; this.listeners = {}; this.saves = 0; }
  get(name) { return this.state[name]; }
  set(name, value) {
    const changed = this.state[name] !== value; this.state[name] = value;
    if (changed) (this.listeners['change:' + name] || []).slice().forEach((f) => f());
  }
  save_changes() { this.saves += 1; }
  on(name, f) { (this.listeners[name] ||= []).push(f); }
  off(name, f) { this.listeners[name] = (this.listeners[name] || []).filter((g) => g !== f); }
}
"""


def bare_page(chromium: Browser, widget: PictureWidget, scheme: str = "light", **state: object) -> Page:
    """Show ``widget``, with ``state`` in place of some of its traits.

    The page's ``outside`` records requests that left it, ``errors`` what its console complained of.
    """
    page = chromium.new_page(viewport={"width": 1000, "height": 800}, has_touch=True, color_scheme=scheme)
    page.outside = watch(page, None)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
    # Nobody repeats "heard" here: without it a page does not wait for a kernel.
    own = {n: v for n, v in widget.get_state().items() if not n.startswith("_") and n not in ("layout", "heard")}
    page.set_content('<!doctype html><html lang="en"><title>t</title><main id="here"><h1>t</h1></main></html>')
    page.evaluate(
        """async ([script, modelText, state]) => {
          const url = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
          const module = await import(url);
          const Model = new Function(modelText + '; return Model;')();
          window.model = new Model(state);
          // As in JupyterLab, the widget's element joins the page after it is rendered.
          const el = document.createElement('div');
          window.cleanUp = module.default.render({ model: window.model, el });
          document.getElementById('here').append(el);
          await new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)));
        }""",
        [str(widget._esm), _MODEL, {**own, **state}],
    )
    return page


def centre(page: Page, row: int, col: int) -> tuple[float, float]:
    """Where the middle of a patch of an 8x8 painter is, in the page's pixels."""
    box = page.get_by_test_id("painter").bounding_box()
    return box["x"] + (col + 0.5) * box["width"] / 8, box["y"] + (row + 0.5) * box["height"] / 8


def drag(page: Page, start: tuple[int, int], *stops: tuple[int, int], steps: int = 6) -> None:
    """One stroke with the mouse, from patch to patch."""
    page.mouse.move(*centre(page, *start))
    page.mouse.down()
    for stop in stops:
        page.mouse.move(*centre(page, *stop), steps=steps)
    page.mouse.up()
