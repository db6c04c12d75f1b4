"""Slides of every lesson: ``python tools/build_slides.py`` writes out/slides/NN_name.html, one file each.

The notebooks are executed as for the documentation, and what was executed is used again; ``--no-execute`` takes what is
there. A heading begins a slide; its texts, results and answers lie below it (arrow keys; *S* opens the speaker's view
with the lesson plan and the answers). Open a deck with ``?print-pdf`` to print it.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import sys
from html import escape
from pathlib import Path

import nbformat
from build_gallery import heading, without_widgets
from build_notebooks import SOLUTION
from nbconvert import SlidesExporter
from nbformat.v4 import new_markdown_cell
from PIL import Image
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).parent.parent
TEMPLATE = Path(__file__).parent / "slides"
WORDS = 90  # of text on one slide
BESIDE = 50  # words at most that share a slide with a result
TITLE = 10  # words of a heading
LINES = 12  # of code that is shown above what it printed
CODE_WIDTH = 84  # letters of a line that can be read from the last row
PRINTED = 18  # lines at most of what is printed

_DETAILS = re.compile(r"<details><summary>([^<:]*)[^<]*</summary>(.*?)</details>", re.DOTALL)


def plan_of(name: str) -> str:
    """The lesson plan of a notebook, as Markdown without links; empty without one."""
    path = ROOT / "docs" / "teaching" / f"{name}.md"
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", path.read_text(encoding="utf-8")) if path.is_file() else ""


def blocks(text: str) -> list[str]:
    """Parts of a text that may lie on slides of their own: paragraphs, items of a list, whole tables and code."""
    found: list[str] = []
    for part in re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE):
        if part.startswith("```"):
            found.append(part)
            continue
        for paragraph in re.split(r"\n\s*\n", part):
            found += re.split(r"\n(?=(?:\d+\.|[*-]) )", paragraph) if paragraph.strip() else []
    return [block.strip("\n") for block in found]


def packed(text: str, words: int = WORDS) -> list[str]:
    """A text as texts of at most about ``words`` words each, cut between :func:`blocks`.

    What announces a list stays with it.
    """
    slides: list[list[str]] = [[]]
    for block in blocks(text):
        if slides[-1] and sum(len(kept.split()) for kept in [*slides[-1], block]) > words:
            announces = len(slides[-1]) > 1 and slides[-1][-1].endswith((":", "**"))
            slides.append([slides[-1].pop()] if announces else [])
        slides[-1].append(block)
    return ["\n\n".join(slide) for slide in slides if slide]


def deck(notebook: nbformat.NotebookNode, plan: str = "") -> nbformat.NotebookNode:
    """An executed notebook as cells that each fill one slide at most, with their places in the show.

    Args:
        plan: Markdown for the speaker's view of the first slide.
    """
    made: list[nbformat.NotebookNode] = []
    title = ""

    def add(kind: str, text: str) -> None:
        made.append(new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}}))

    for cell in notebook.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "skip")
        if kind == "skip":
            continue
        if cell.cell_type == "markdown":
            for section in filter(str.strip, re.split(r"^(?=#{1,2} )", cell.source, flags=re.MULTILINE)):
                title = _text_slides(section, title, SOLUTION in cell.metadata.get("tags", []), add)
                if plan:
                    add("notes", plan)
                    plan = ""
            continue
        for part in _shown(cell):
            last = made[-1]
            room = 2 * TITLE if _is_tall(part.outputs[0]) else BESIDE
            if last.cell_type != "markdown" or len(last.source.split()) > room or _kind(last) == "notes":
                add("subslide", f"## {title}")
            made.append(part)
    return nbformat.v4.new_notebook(cells=made, metadata=notebook.metadata)


def _kind(cell: nbformat.NotebookNode) -> str:
    return cell.metadata.slideshow.slide_type


def _text_slides(section: str, title: str, is_solution: bool, add) -> str:
    """Add one section's slides; returns the title of what follows."""
    folded = [(name.strip(), inside.strip()) for name, inside in _DETAILS.findall(section)]
    head, _, body = _DETAILS.sub("", section).strip().partition("\n") if section.startswith("#") else ("", "", "")
    if head:
        title = head.lstrip("# ")
    elif not is_solution:
        body = _DETAILS.sub("", section)
    if head.startswith("# "):
        goal, _, rest = body.strip().partition("\n\n")
        add("slide", f"{head}\n\n{goal}")
        for text in packed(rest):
            add("subslide", f"## {title}\n\n{text}")
    else:
        for i, text in enumerate(packed(body) or [""] * bool(head)):
            add("slide" if head and not i else "subslide", f"## {title}\n\n{text}")
    for name, inside in folded:
        words = re.sub(
            r"^```.*?^```$", "", inside, flags=re.DOTALL | re.MULTILINE
        )  # a solution's code is in the notebook
        add("notes", f"**{name}**\n\n{words.strip()}")
        for text in packed(words):
            add("subslide", f"## {title}: {name.lower()}\n\n{text}")
    return title


def _shown(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Each result of a cell of code; above a short printed one its code, where that is short too."""
    lines = cell.source.splitlines()
    parts = []
    for output in _pages(cell.get("outputs", [])):
        printed = output.get("text", "").count("\n")
        short = 0 < printed <= LINES - len(lines) and max(map(len, lines)) <= CODE_WIDTH
        kept = nbformat.v4.new_code_cell(cell.source if short and not parts else "", outputs=[output])
        kept.metadata["slideshow"] = {"slide_type": "-"}
        parts.append(kept)
    return parts


def _is_tall(output: nbformat.NotebookNode) -> bool:
    """Whether an output is a picture that needs a slide of its own."""
    content = output.get("data", {}).get("image/png")
    if content is None:
        return False
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        return picture.height > 0.4 * picture.width


def _pages(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Results that can be shown, a long printed one in parts."""
    found = []
    for output in outputs:
        lines = output.get("text", "").splitlines(keepends=True)
        if not lines:
            found += [output] if "data" in output else []
        for start in range(0, len(lines), PRINTED):
            found.append(nbformat.from_dict({**output, "text": "".join(lines[start : start + PRINTED])}))
    return found


def slides(notebook: nbformat.NotebookNode, plan: str = "") -> str:
    """An executed notebook as one HTML file with reveal.js inside; a widget is shown by its picture."""
    read = {name: (TEMPLATE / name).read_text(encoding="utf-8") for name in ("deck.css", "deck.js")}
    reveal = {p.name: p.read_text(encoding="utf-8") for p in (TEMPLATE / "reveal").iterdir()}
    title, _ = heading(notebook)
    scripts = [reveal["reveal.js"].partition("//# sourceMappingURL")[0], reveal["notes.js"], read["deck.js"]]
    colours = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    resources = {
        "deck": {
            "title": title,
            "style": "\n".join([reveal["reveal.css"], colours, ".highlight { background: none; }", read["deck.css"]]),
            "scripts": [script.replace("</script", "<\\/script") for script in scripts],
        }
    }
    exporter = SlidesExporter(
        template_name="slides", extra_template_basedirs=[str(TEMPLATE.parent)], exclude_anchor_links=True
    )
    body, _ = exporter.from_notebook_node(deck(without_widgets(notebook), plan), resources=resources)
    # Slides of one section share its title: no two may have one id.
    return re.sub(r"(<h[1-6]) id=\"[^\"]*\"", r"\1", body)


def index(files: list[tuple[str, str]]) -> str:
    """The page that lists the decks: (file, title) each."""
    from build_gallery import whole

    items = "".join(f'<li><a href="{file}">{escape(title)}</a></li>' for file, title in files)
    words = (
        "<p>Arrow keys: right for the next section, down for what lies below it. <b>S</b> opens the speaker's view, "
        "<b>F</b> fills the screen; <code>?print-pdf</code> behind an address gives a page to print.</p>"
    )
    return whole("Slides", f"<h1>Slides</h1>{words}<ul>{items}</ul>")


def main(arguments: list[str] | None = None) -> int:
    """Build; returns the exit status."""
    from build_docs import main as build_docs
    from docs_hooks import notebook_page

    from ijepa_viz.runtime.files import write_file

    parser = argparse.ArgumentParser(description="Write the slides of every notebook.")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "slides", help="folder to write")
    parser.add_argument("--no-execute", action="store_true", help="take the notebooks' outputs that are there")
    options = parser.parse_args(arguments)
    if not options.no_execute and build_docs(["--only-execute"]):
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    files = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        executed = notebook_page(path)
        if executed == path:
            print(f"{path.stem} was not executed: its slides have no results.")
        notebook = nbformat.read(executed, as_version=4)
        files.append((f"{path.stem}.html", heading(notebook)[0]))
        write_file(options.out / files[-1][0], slides(notebook, plan_of(path.stem)).encode())
    write_file(options.out / "index.html", index(files).encode())
    print((options.out / "index.html").resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
