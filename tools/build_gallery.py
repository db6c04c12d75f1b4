"""Run every notebook and write one static site that needs no network: ``python tools/build_gallery.py OUT``.

OUT/index.html shows a picture a notebook; beside it lie the executed notebooks as pages, their slides and handouts,
and two pages on which a hole can be painted and is answered from what was computed before. A notebook that fails, or
takes longer than ``--timeout``, is shown as far as it ran. ``--covers FOLDER`` writes the README's pictures as well.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path

import nbformat
import numpy as np
from build_notebooks import STORED
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from PIL import Image
from pygments.formatters import HtmlFormatter

from ijepa_viz.examples import Example

ROOT = Path(__file__).parent.parent

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

COVER = "cover"  # the tag of the cell whose picture stands for its notebook
TIMEOUT = 600  # seconds a cell
BACK = '<p><a href="index.html">All notebooks</a></p>'  # above every page
STILL = "A still: in JupyterLab (make lab) this widget answers."

_WIDGET = "application/vnd.jupyter.widget-view+json"

_STYLE = f"""
:root {{ color-scheme: light dark; --line: #d0d0d6; --soft: #55555c; --paper: #fff; --code: #f5f5f7; --link: #0b5cad; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --line: #3c3c44; --soft: #b4b4bd; --paper: #17171a; --code: #222227; --link: #7ab8ff; }} }}
body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 62rem; margin: 1.5rem auto; padding: 0 1rem;
  background: var(--paper); }}
a {{ color: var(--link); }} a.anchor-link {{ display: none; }}
img {{ max-width: 100%; background: #fff; border-radius: 4px; }}
p, li, h1, h2, code {{ overflow-wrap: anywhere; }} td code {{ overflow-wrap: normal; }}
pre {{ background: var(--code); padding: .6rem .8rem; overflow-x: auto; border-radius: 4px; font-size: .85rem; }}
pre, pre code {{ overflow-wrap: normal; }}
blockquote {{ border-left: 4px solid var(--line); margin-left: 0; padding-left: 1rem; color: var(--soft); }}
table {{ border-collapse: collapse; display: block; max-width: 100%; overflow-x: auto; }}
td, th {{ border-bottom: 1px solid var(--line); padding: .25rem .6rem; }}
.prompt {{ display: none; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); gap: 1.2rem;
  padding: 0; }}
.cards li {{ list-style: none; border: 1px solid var(--line); border-radius: 8px; padding: .8rem; }}
.cards h2 {{ font-size: 1.05rem; margin: 0 0 .4rem; }} .cards p {{ font-size: .9rem; margin: .4rem 0 0; }}
.cards img {{ display: block; width: 100%; }}
.soft {{ color: var(--soft); }}
{HtmlFormatter(style="friendly").get_style_defs(".highlight")}
.highlight {{ background: none; }}
@media (prefers-color-scheme: dark) {{
{HtmlFormatter(style="monokai").get_style_defs(".highlight")}
.highlight {{ background: none; }} }}
"""


def execute(path: Path) -> nbformat.NotebookNode:
    """A notebook run from top to bottom on one thread, without the widgets' state: exported pages would be blank.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    notebook = nbformat.read(path, as_version=4)
    _run(notebook, path.parent, TIMEOUT)
    return notebook


def _run(notebook: nbformat.NotebookNode, folder: Path, timeout: int) -> None:
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=timeout, resources=resources, store_widget_state=False)
    client.execute(env={**os.environ, "OMP_NUM_THREADS": "1"})


def attempt(path: Path, timeout: int = TIMEOUT) -> tuple[nbformat.NotebookNode, str]:
    """A notebook as far as it ran, and why it stopped: empty if it ran to its end."""
    notebook = nbformat.read(path, as_version=4)
    try:
        _run(notebook, path.parent, timeout)
    except CellExecutionError as error:
        return notebook, f"a cell failed: {error.ename}: {error.evalue}"
    except CellTimeoutError:
        return notebook, f"a cell took longer than {timeout} s"
    except DeadKernelError:
        return notebook, "the kernel died, perhaps for lack of memory"
    return notebook, ""


def whole(title: str, body: str) -> str:
    """A page in the gallery's style around ``body``, HTML; it loads nothing."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )


def without_widgets(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An executed notebook's copy without progress bars, in which each widget is its picture and says so."""
    still = nbformat.from_dict(notebook)
    still.cells = [cell for cell in still.cells if STORED not in cell.metadata.get("tags", [])]
    for cell in still.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_bare_widget(output)]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if data.pop(_WIDGET, None) is not None and "text/html" in data:
                data["text/html"] += f'<p class="soft">{STILL}</p>'
    return still


def _is_bare_widget(output: nbformat.NotebookNode) -> bool:
    """Whether an output is a widget without a picture, such as a progress bar, half full for ever on a page."""
    data = output.get("data", {})
    return _WIDGET in data and "image/png" not in data


def page(notebook: nbformat.NotebookNode, stopped: str = "") -> str:
    """An executed notebook as one HTML text that loads nothing.

    Args:
        stopped: why it did not run to its end.
    """
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(without_widgets(notebook))
    title, _ = heading(notebook)
    words = f'<p role="alert"><b>This notebook did not run to its end:</b> {escape(stopped)}.</p>' if stopped else ""
    return whole(title, f"{BACK}{words}{body}")


def heading(notebook: nbformat.NotebookNode) -> tuple[str, str]:
    """Title and goal, as the first cell says them."""
    text = notebook.cells[0].source
    title = re.match(r"# (.+)", text)
    goal = re.search(r"\*\*Goal\.\*\*\s+(.+?)\s+\*\*Time", text, re.DOTALL)
    if not title or not goal:
        raise ValueError(f"A notebook begins with '# Title' and '**Goal.** ...', not with {text[:60]!r}.")
    return title[1], " ".join(goal[1].split())


def cover(notebook: nbformat.NotebookNode) -> tuple[bytes, str]:
    """The PNG that stands for an executed notebook, and its alternative text.

    Raises:
        ValueError: no cell tagged "cover" that shows a picture.
    """
    for cell in notebook.cells:
        if COVER not in cell.metadata.get("tags", []):
            continue
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                alt = re.search(r'alt="([^"]*)"', data["text/html"])
                assert alt is not None
                return base64.b64decode(data["image/png"]), unescape(alt[1])
    raise ValueError(f"The notebook {heading(notebook)[0]!r} has no cell with the tag {COVER!r} that shows a picture.")


def small(png: bytes, width: int = 900) -> bytes:
    """A PNG at most ``width`` pixels wide, in at most 256 colours: for a page that shows many."""
    with Image.open(io.BytesIO(png)) as image:
        picture = image.convert("RGB")
    picture.thumbnail((width, 10 * width), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(out, "png", optimize=True)
    return out.getvalue()


def demo(name: str, example: Example, other: Example, title: str) -> str:
    """A page on which a hole can be painted, answered for the nearest of all 3x3 blocks.

    Args:
        example: the picture, and where the first block is. other: what the control is predicted from.
    """
    import ijepa_viz
    from decoders import load_decoder
    from ijepa_viz.widgets import PredictionExplorer
    from ijepa_viz.widgets.offline import offline_page, precomputed

    model = ijepa_viz.load_model(name)
    rows, cols = model.grid
    holes = {}
    for row in range(rows - 2):
        for col in range(cols - 2):
            hole = np.zeros((rows, cols), bool)
            hole[row : row + 3, col : col + 3] = True
            holes[row, col] = hole
    first = holes[min(example.hole[0] * rows // 8, rows - 3), min(example.hole[1] * cols // 8, cols - 3)]
    explorer = PredictionExplorer(model, load_decoder(name), example.image, other=other.image, hidden=first)
    credits = "".join(f" {text}" for text in dict.fromkeys((example.credit, other.credit)) if text)
    words = (
        f"Press anywhere on the picture: the 3x3 patches there are hidden, and the page shows what {name} expects. "
        f"The answers for these {len(holes)} holes were computed before. Holes of any shape: notebook 00_start_here."
        f"{credits}"
    )
    try:
        made = offline_page(explorer, title, words, precomputed(explorer, list(holes.values())))
    finally:
        explorer.close()
    return made.replace("<main>", f"<main>{BACK}", 1)


@dataclass(frozen=True)
class Card:
    """One entry of the first page.

    Attributes:
        file, title, words: the page and what it is. picture: PNG, or None. alt: its alternative text.
        more: further files of the same lesson, (file, name) each. stopped: why the notebook did not run to its end.
    """

    file: str
    title: str
    words: str
    picture: bytes | None = None
    alt: str = ""
    more: tuple[tuple[str, str], ...] = ()
    stopped: str = ""


def index(cards: list[Card]) -> str:
    """The first page."""
    items = []
    for card in cards:
        shown = ""
        if card.picture:
            content = base64.b64encode(card.picture).decode()
            shown = f'<img alt="{escape(card.alt, quote=True)}" src="data:image/png;base64,{content}">'
        stopped = f"<p><b>Did not run to its end:</b> {escape(card.stopped)}.</p>" if card.stopped else ""
        links = " · ".join(f'<a href="{file}">{escape(name)}</a>' for file, name in card.more)
        items.append(
            f'<li><h2><a href="{card.file}">{escape(card.title)}</a></h2>{shown}<p>{_plain(card.words)}</p>{stopped}'
            f"{f'<p>{links}</p>' if links else ''}</li>"
        )
    return whole(
        "ijepa_viz: the gallery",
        "<h1>What a JEPA expects in the hole</h1><p>Every notebook of ijepa_viz as it ran, with slides and a handout "
        'for a lesson, and two pages to paint on. Nothing here is loaded from a network.</p><ul class="cards">'
        + "".join(items)
        + "</ul>",
    )


def _plain(markdown: str) -> str:
    return re.sub(r"[*_`]+([^*_`]+)[*_`]+", r"\1", escape(markdown))


def demo_card(out: Path, name: str, title: str) -> Card:
    """Write the page to paint on, with a bundled model; returns its card."""
    from ijepa_viz import examples
    from ijepa_viz.runtime.files import write_file

    pictures = examples.of_kind(examples.kind_of(name))
    other = next(example for example in pictures if example.image is not pictures[0].image)
    file = f"paint-{name}.html"
    write_file(out / file, demo(name, pictures[0], other, title).encode())
    picture = io.BytesIO()
    pictures[0].image.resize((256, 256), Image.Resampling.NEAREST).save(picture, "png")
    words = "Without a kernel: answers for every hole of 3x3 patches were computed before."
    return Card(file, title, words, small(picture.getvalue()), f"The picture to paint on, with {pictures[0].caption}")


def lesson_card(out: Path, path: Path, timeout: int, covers: Path | None = None) -> Card:
    """Run a notebook and write its page, slides and handout; returns its card, whatever became of the run."""
    from build_handouts import FIGURES, handout
    from build_slides import plan_of, slides

    from ijepa_viz.runtime.files import write_file

    notebook, stopped = attempt(path, timeout)
    title, goal = heading(notebook)
    write_file(out / f"{path.stem}.html", page(notebook, stopped).encode())
    beside = {"slides": slides(notebook, plan_of(path.stem))}
    if path.stem in FIGURES:
        beside["handout"] = handout(path.stem, "../{}.html", "")
    for folder, text in beside.items():
        (out / folder).mkdir(exist_ok=True)
        write_file(out / folder / f"{path.stem}.html", text.encode())
    picture, alt = None, ""
    if not stopped:
        drawn, alt = cover(notebook)
        picture = small(drawn)
    if picture and covers:
        covers.mkdir(parents=True, exist_ok=True)
        write_file(covers / f"{path.stem}.png", picture)
    more = tuple((f"{folder}/{path.stem}.html", folder) for folder in beside)
    return Card(f"{path.stem}.html", f"{path.stem[:2]}  {title}", goal, picture, alt, more, stopped)


def main(arguments: list[str] | None = None) -> int:
    """Build; returns the exit status, 1 if a notebook did not run to its end."""
    from ijepa_viz.runtime.files import write_file

    parser = argparse.ArgumentParser(description="Run every notebook and write a static site of them.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--covers", type=Path, help="write NN_name.png here too, the README's pictures")
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="only notebooks whose name starts so")
    parser.add_argument("--timeout", type=int, default=TIMEOUT, metavar="S", help="seconds a cell may take")
    options = parser.parse_args(arguments)
    paths = [p for p in NOTEBOOKS if not options.only or p.name.startswith(tuple(options.only))]
    options.out.mkdir(parents=True, exist_ok=True)
    cards = [
        demo_card(options.out, "menagerie-tiny", "Paint a hole over a drawn dog"),
        demo_card(options.out, "cats-tiny", "Paint a hole over a photograph of a cat"),
    ]
    with ThreadPoolExecutor(2) as workers:
        for card in workers.map(lambda p: lesson_card(options.out, p, options.timeout, options.covers), paths):
            cards.append(card)
            print(options.out / card.file, *([f"stopped: {card.stopped}"] if card.stopped else []), flush=True)
            write_file(options.out / "index.html", index(cards).encode())
    print((options.out / "index.html").resolve())
    return int(any(card.stopped for card in cards))


if __name__ == "__main__":
    sys.exit(main())
