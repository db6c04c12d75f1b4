"""Run every notebook and write one static site that needs no network: ``python tools/build_gallery.py OUT``.

OUT/index.html shows a picture a notebook; beside it lie the executed notebooks as pages, and two pages on which a hole
can be painted and is answered from what was computed before. ``--covers FOLDER`` writes the README's pictures as well.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from html import escape, unescape
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).parent.parent

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

COVER = "cover"  # the tag of the cell whose picture stands for its notebook

_WIDGET = "application/vnd.jupyter.widget-view+json"

_STYLE = f"""
:root {{ color-scheme: light dark; --line: #d0d0d6; --soft: #55555c; --paper: #fff; --code: #f5f5f7; --link: #0b5cad; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --line: #3c3c44; --soft: #b4b4bd; --paper: #17171a; --code: #222227; --link: #7ab8ff; }} }}
body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 62rem; margin: 1.5rem auto; padding: 0 1rem;
  background: var(--paper); }}
a {{ color: var(--link); }} a.anchor-link {{ display: none; }}
img {{ max-width: 100%; background: #fff; border-radius: 4px; }}
pre {{ background: var(--code); padding: .6rem .8rem; overflow-x: auto; border-radius: 4px; font-size: .85rem; }}
blockquote {{ border-left: 4px solid var(--line); margin-left: 0; padding-left: 1rem; color: var(--soft); }}
table {{ border-collapse: collapse; }} td, th {{ border-bottom: 1px solid var(--line); padding: .25rem .6rem; }}
.prompt {{ display: none; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1.2rem; padding: 0; }}
.cards li {{ list-style: none; border: 1px solid var(--line); border-radius: 8px; padding: .8rem; }}
.cards h2 {{ font-size: 1.05rem; margin: 0 0 .4rem; }} .cards p {{ font-size: .9rem; margin: .4rem 0 0; }}
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
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=600, resources=resources, store_widget_state=False)
    client.execute(env={**os.environ, "OMP_NUM_THREADS": "1"})
    return notebook


def _whole(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )


def page(notebook: nbformat.NotebookNode) -> str:
    """An executed notebook as one HTML text that loads nothing; a widget is shown by its picture."""
    still = nbformat.from_dict(notebook)
    for cell in still.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(_WIDGET, None)
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(still)
    title, _ = heading(notebook)
    return _whole(title, f'<p><a href="index.html">All notebooks</a></p>{body}')


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


def demo(name: str, image: object, other: object, title: str) -> str:
    """A page on which a hole can be painted, answered for the nearest of all 3x3 blocks."""
    import ijepa_viz
    from decoders import load_decoder
    from ijepa_viz.widgets import PredictionExplorer
    from ijepa_viz.widgets.offline import offline_page, precomputed

    model = ijepa_viz.load_model(name)
    explorer = PredictionExplorer(model, load_decoder(name), image, other=other)
    rows, cols = model.grid
    holes = []
    for row in range(rows - 2):
        for col in range(cols - 2):
            hole = np.zeros((rows, cols), bool)
            hole[row : row + 3, col : col + 3] = True
            holes.append(hole)
    words = (
        f"Paint a hole and let go: the page answers with what {name} expects in the nearest of {len(holes)} holes "
        "of 3x3 patches, which were computed before. Any hole, at once, is in the notebook 00_start_here."
    )
    try:
        return offline_page(explorer, title, words, precomputed(explorer, holes))
    finally:
        explorer.close()


def index(cards: list[tuple[str, str, str, bytes | None, str]]) -> str:
    """The first page: (file, title, words, picture or None, its alternative text) each."""
    items = []
    for file, title, words, picture, alt in cards:
        shown = ""
        if picture:
            content = base64.b64encode(picture).decode()
            shown = f'<img alt="{escape(alt, quote=True)}" src="data:image/png;base64,{content}">'
        items.append(f'<li><h2><a href="{file}">{escape(title)}</a></h2>{shown}<p>{_plain(words)}</p></li>')
    return _whole(
        "ijepa_viz: the gallery",
        "<h1>What a JEPA expects in the hole</h1><p>Every notebook of ijepa_viz as it ran, and two pages to paint on. "
        'Nothing here is loaded from a network.</p><ul class="cards">' + "".join(items) + "</ul>",
    )


def _plain(markdown: str) -> str:
    return re.sub(r"[*_`]+([^*_`]+)[*_`]+", r"\1", escape(markdown))


def main() -> int:
    """Build; returns the exit status."""
    from ijepa_viz import examples
    from ijepa_viz.runtime.files import write_file

    parser = argparse.ArgumentParser(description="Run every notebook and write a static site of them.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--covers", type=Path, help="write NN_name.png here too, the README's pictures")
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="only notebooks whose name starts so")
    options = parser.parse_args()
    paths = [p for p in NOTEBOOKS if not options.only or p.name.startswith(tuple(options.only))]
    cards: list[tuple[str, str, str, bytes | None, str]] = []
    options.out.mkdir(parents=True, exist_ok=True)
    scenes, photographs = examples.drawn_scenes(64), examples.photographs()
    for name, pictures, title in (
        ("menagerie-tiny", scenes, "Paint a hole over a drawn dog"),
        ("wild-tiny", photographs, "Paint a hole over a photograph"),
    ):
        file = f"paint-{name}.html"
        write_file(options.out / file, demo(name, pictures[0].image, pictures[1].image, title).encode())
        picture = io.BytesIO()
        pictures[0].image.resize((256, 256), Image.Resampling.NEAREST).save(picture, "png")
        words = "Without a kernel: answers for every hole of 3x3 patches were computed before."
        cards.append((file, title, words, small(picture.getvalue()), pictures[0].caption))
        print(options.out / file, flush=True)
    with ThreadPoolExecutor(2) as workers:
        for path, notebook in zip(paths, workers.map(execute, paths), strict=True):
            title, goal = heading(notebook)
            picture, alt = cover(notebook)
            write_file(options.out / f"{path.stem}.html", page(notebook).encode())
            if options.covers:
                options.covers.mkdir(parents=True, exist_ok=True)
                write_file(options.covers / f"{path.stem}.png", small(picture))
            cards.append((f"{path.stem}.html", f"{path.stem[:2]}  {title}", goal, small(picture), alt))
            print(options.out / f"{path.stem}.html", flush=True)
    write_file(options.out / "index.html", index(cards).encode())
    print((options.out / "index.html").resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
