"""mkdocs hooks: pages that are written elsewhere in the project, and notebooks' pages without any external file.

mkdocs calls ``on_files`` (two functions) and ``on_page_content``; ``generated_files`` says what is added to ``docs/``.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from mkdocs.plugins import CombinedEvent, event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
EXECUTED = ROOT / "out" / "docs-notebooks"
_UNWANTED = (
    "script, style, clipboard-copy, .clipboard-copy-txt, .zeroclipboard-container, .jp-InputPrompt, .jp-OutputPrompt, "
    ".jp-Collapser, .jp-InputCollapser, .jp-OutputCollapser, .celltag_stored"
)
_MEASURE = re.compile(r"(\d) (%|ms|s|px|GB|MB)(?!\w)")
KEY = "ijepa_viz_docs"  # in an executed notebook's metadata: digests of what it was made from


def digest(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def notebook_page(path: Path) -> Path:
    """The executed copy of a notebook, or the notebook itself where no copy of this very text was executed."""
    executed = EXECUTED / path.name
    if executed.is_file():
        made_from = json.loads(executed.read_text(encoding="utf-8"))["metadata"].get(KEY, {})
        if made_from.get("notebook") == digest(path):
            return executed
    return path


def generated_files() -> dict[str, Path]:
    """Path below ``docs/`` -> the file outside of it that stands there."""
    pages = {f"tutorials/{path.name}": notebook_page(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    pictures = {f"images/{path.name}": path for path in sorted((ROOT / "notebooks" / "images").glob("*.png"))}
    cards = {
        f"results/{path.parent.name}.md": path for path in sorted((ROOT / "ijepa_viz" / "weights").glob("*/README.md"))
    }
    documents = {
        "changelog.md": ROOT / "CHANGELOG.md",
        "contributing.md": ROOT / "CONTRIBUTING.md",
        "results/recipe.md": ROOT / "train" / "RECIPE.md",
        "results/study.md": ROOT / "decoders" / "STUDY.md",
    }
    return {**pages, **pictures, **cards, **documents}


@event_priority(100)  # before mkdocs-jupyter, which looks for notebooks among the files
def add_files(files: Files, config: Any) -> Files:
    """Add :func:`generated_files`."""
    for place, path in generated_files().items():
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


@event_priority(-100)  # after mkdocs-jupyter, which wraps the notebooks' files and loses their paths
def restore_paths(files: Files, config: Any) -> Files:
    """Set the paths of the wrapped notebooks again."""
    generated = generated_files()
    for file in files:
        if file.src_uri.endswith(".ipynb") and file.src_uri in generated:
            file.abs_src_path = str(generated[file.src_uri])
    return files


on_files = CombinedEvent(add_files, restore_paths)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links to files of the project, as GitHub follows them, to the pages that these files become."""
    generated, docs = generated_files(), ROOT / "docs"
    pages = {notebook_source(path): place for place, path in generated.items()}
    written = generated.get(page.file.src_uri)  # elsewhere, and its links begin there
    here = (notebook_source(written) if written else docs / page.file.src_uri).parent

    def to_page(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(here / link[1]))
        place = pages.get(target)
        if place is None and target.is_file() and target.is_relative_to(docs):
            place = target.relative_to(docs).as_posix()
        if place is None:
            return link[0]
        return f"]({posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or '.')}{link[2] or ''})"

    markdown = re.sub(r"\]\(([^)#\s:]+)(#[^)\s]*)?\)", to_page, markdown)
    return with_lesson_links(markdown, Path(page.file.src_uri))


def with_lesson_links(markdown: str, place: Path) -> str:
    """A lesson plan with links to its slides and handout, which ``build_docs.write_lessons`` writes into the site."""
    if place.parent.name != "teaching" or not (ROOT / "notebooks" / f"{place.stem}.ipynb").is_file():
        return markdown
    made = {"slides": "Slides", "handouts": "Handout, one page of A4"}
    links = " · ".join(f'<a href="{kind}/{place.stem}.html">{words}</a>' for kind, words in made.items())
    return markdown.replace("\n\n## ", f"\n\n<p>{links}</p>\n\n## ", 1)


def notebook_source(path: Path) -> Path:
    """The file of the project that an executed notebook was made from; any other file is its own."""
    return ROOT / "notebooks" / path.name if path.parent == EXECUTED else path


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """A notebook's page in the site's own style; elsewhere numbers that stay on the line of their unit."""
    if page.file.src_uri.endswith(".ipynb"):
        return restyled(html)
    return re.sub(r"<td.*?</td>", lambda cell: _MEASURE.sub(r"\1&nbsp;\2", cell[0]), html, flags=re.DOTALL)


def restyled(html: str) -> str:
    """The HTML that mkdocs-jupyter makes of a notebook, without its style sheets and scripts.

    They are 0.6 MB a page and load MathJax and mermaid from a network. Code gets the markup of the theme's own code
    blocks, with their colours and copy button.
    """
    soup = BeautifulSoup(html, "html.parser")
    notebook = soup.find("div", class_="jupyter-wrapper")
    assert isinstance(notebook, Tag)
    for unwanted in notebook.select(_UNWANTED):
        unwanted.decompose()
    for block in notebook.select(".jp-InputArea-editor .highlight-ipynb"):
        block["class"] = ["highlight"]
        pre = block.find("pre")
        assert isinstance(pre, Tag)
        code = soup.new_tag("code")
        code.extend(list(pre.contents))
        pre.append(code)
    for toolbar in notebook.select(".celltoolbar"):
        toolbar.decompose()
    for anchor in notebook.select("a.anchor-link"):
        anchor["class"] = ["headerlink"]
        anchor["title"] = "Permanent link"
    return re.sub(r"\n{3,}", "\n\n", str(notebook))
