"""A JupyterLab with every widget in one notebook, and hands on them: mouse, finger and keys."""

from __future__ import annotations

import ast
import contextlib
import shutil
import time
from pathlib import Path

import nbformat
from jupyter_lab import lab, open_notebook, run_all, watch

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def notebooks_in_lab(folder):
    """A JupyterLab with a copy of every notebook below ``folder``; yields its port and where the copies are."""
    notebooks = folder / "notebooks"
    shutil.copytree(ROOT / "notebooks", notebooks, ignore=shutil.ignore_patterns("src", "images"))
    with lab(notebooks, folder / "private") as port:
        yield port, notebooks


def settle(page):
    """Wait until the painter stays where it is: late outputs above it would move it away under the pen."""
    page.evaluate(
        """async () => {
          const place = () => {
            const box = document.querySelector('[data-testid=painter]').getBoundingClientRect();
            return [box.x, box.y, box.width, box.height].join();
          };
          for (let still = 0, looks = 0, before = place(); still < 10; looks += 1) {
            if (looks === 300) throw new Error('the painter does not come to rest within 30 s');
            await new Promise((go) => setTimeout(go, 100));
            still = place() === before ? still + 1 : 0;
            before = place();
          }
        }"""
    )


_MODELS = """
from pathlib import Path
import ijepa_viz
from decoders import load_decoder
from ijepa_viz import examples
from ijepa_viz.widgets import ArchitectureDiagram, MaskPainter, MaskSampler, PredictionExplorer, RunMonitor
pairs = {name: (ijepa_viz.load_model(name), load_decoder(name)) for name in ("menagerie-tiny", "wild-tiny")}
model, decoder = pairs["menagerie-tiny"]
scenes = [scene.image for scene in examples.drawn_scenes(64)]
run = Path("run")
run.mkdir()
(run / "config.yaml").write_text("optimization:\\n  steps: 40\\n")
(run / "log.csv").write_text("step,images,minutes,loss,knn\\n10,100,0.1,1.5,\\n20,200,0.2,0.5,0.2\\n30,300,0.3,0.4,0.3\\n")
shown = {name: (scenes[i], name) for i, name in enumerate(["one", "two", "three"])}
"""

# Cells of the widgets, in the order of the notebook.
_CELLS = {
    "explorer": "PredictionExplorer(model, decoder, scenes[0], name='menagerie-tiny',"
    " alternatives={'wild-tiny': pairs['wild-tiny']})",
    "painter": "MaskPainter(scenes[0], model.grid)",
    "sampler": "MaskSampler((8, 8))",
    "diagram": "ArchitectureDiagram(scenes[0], shown, {'ijepa': [0.5, 1.0, 2.0]})",
    "monitor": "RunMonitor(run)",
}

PLACES = {name: place for place, name in enumerate(_CELLS, start=1)}


@contextlib.contextmanager
def every_widget(chromium, port, folder):
    """A page of JupyterLab with a notebook of every widget; nothing may leave it."""
    cells = [_MODELS, *(f"{name} = {code}\n{name}" for name, code in _CELLS.items()), "1 + 1"]
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "all.ipynb")
    page = chromium.new_page(viewport={"width": 1400, "height": 900}, has_touch=True)
    outside = watch(page, port)
    open_notebook(page, port, "all.ipynb")
    run_all(page)
    show(page, "explorer")
    page.wait_for_function(
        "() => Number(document.querySelector('[data-testid=samples]')?.dataset.shown) >= 0", timeout=90_000
    )
    yield page
    assert outside == []
    page.close()


def show(page, name):
    """Bring a widget's cell to the top of the notebook; returns the widget's element."""
    place = PLACES[name]
    page.evaluate(
        """async (i) => {
          const { content } = window.jupyterapp.shell.currentWidget;
          content.activeCellIndex = i;
          content.mode = 'command';
          await content.scrollToItem(i, 'start');
        }""",
        place,
    )
    cell = f"window.jupyterapp.shell.currentWidget.content.widgets[{place}].node"
    page.wait_for_function(f"() => {cell}.isConnected && {cell}.querySelector('.ijv')", timeout=90_000)
    page.evaluate(f"() => {{ {cell}.querySelector('.ijv').scrollIntoView(); {cell}.dataset.testid = '{name}-cell'; }}")
    page.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
    return page.get_by_test_id(f"{name}-cell").locator(".ijv").first


def value(page, expression):
    """What an expression is in the notebook's kernel."""
    found = page.evaluate(
        """async (text) => {
          const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
          const content = { code: 'pass', store_history: false, user_expressions: { found: text } };
          return (await kernel.requestExecute(content).done).content.user_expressions.found;
        }""",
        expression,
    )
    return ast.literal_eval(found["data"]["text/plain"])


def until(page, expression, wanted, seconds=30):
    """Wait until an expression in the kernel has a value."""
    end = time.monotonic() + seconds
    while (found := value(page, expression)) != wanted:
        assert time.monotonic() < end, f"{expression} is {found}, not {wanted}"
        time.sleep(0.05)


# What JupyterLab's own shortcuts would change: cells, their kinds, which is chosen, whether it is edited or folded.
NOTEBOOK_STATE = """() => {
  const { content } = window.jupyterapp.shell.currentWidget;
  return JSON.stringify([content.widgets.map((cell) => [cell.model.type, cell.model.sharedModel.source]), content.activeCellIndex, content.mode]);
}"""


def at(locator, across=0.5, down=0.5):
    """A point of an element in the page's pixels."""
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def patch(canvas, row, col):
    """The middle of a patch of an 8x8 painter."""
    return at(canvas, (col + 0.5) / 8, (row + 0.5) / 8)


def stroke(page, canvas, row, start, stop, by="mouse"):
    """Hide patches along a row of an 8x8 painter, by mouse, finger or keys."""
    if by == "keyboard":
        canvas.focus()
        for key in ["ArrowUp"] * ((4 - row) % 8) + ["ArrowRight"] * ((start - 4) % 8) + ["Space"]:
            page.keyboard.press(key)
        for _ in range(stop - start):
            page.keyboard.press("Shift+ArrowRight")
        # Back to where the painter's cursor begins, so that a next stroke can be told from there.
        for key in ["ArrowDown"] * ((4 - row) % 8) + ["ArrowLeft"] * ((stop - 4) % 8):
            page.keyboard.press(key)
        return
    points = [patch(canvas, row, col) for col in range(start, stop + 1)]
    if by == "touch":
        session = page.context.new_cdp_session(page)
        for kind, touched in (("touchStart", points[:1]), *(("touchMove", [p]) for p in points[1:]), ("touchEnd", [])):
            if kind == "touchEnd":
                page.wait_for_timeout(
                    150
                )  # the finger rests: lifted in motion it flings, and a next tap only ends that
            session.send(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": p[0], "y": p[1]} for p in touched]}
            )
        return
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point)
    page.mouse.up()


def press(page, locator, by, key="Enter", across=0.5):
    """Press an element at a point of it, or focus it and press a key."""
    if by == "keyboard":
        locator.press(key)
    elif by == "touch":
        page.touchscreen.tap(*at(locator, across))
    else:
        page.mouse.click(*at(locator, across))


def resize(page, width, height):
    page.set_viewport_size({"width": width, "height": height})
    side = "expandLeft" if width >= 1400 else "collapseLeft"  # where there is little room, files are put away
    page.evaluate(f"window.jupyterapp.shell.{side}()")
    page.wait_for_timeout(300)
    explorer = show(page, "explorer")
    settle(page)
    return explorer


def in_view(page, locator):
    """Whether an element is completely within what the notebook shows of itself."""
    return locator.evaluate(
        """(node) => {
          const full = document.fullscreenElement, box = node.getBoundingClientRect();
          const panel = full ? { top: 0, bottom: innerHeight, left: 0, right: innerWidth }
            : document.querySelector('.jp-WindowedPanel-outer').getBoundingClientRect();
          return box.width > 0 && box.top >= panel.top - 1 && box.bottom <= panel.bottom + 1
            && box.left >= panel.left && box.right <= panel.right;
        }"""
    )
