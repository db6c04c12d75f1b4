"""One page of A4 for each lesson: ``python tools/build_handouts.py`` writes out/handouts/NN_name.html.

With Chromium also as PDF. It has a figure to draw into or to guess from (``tools/handout_figures.py``), the notebook's
questions with room for answers, what to hand in (from the lesson plan), and where things are.
"""

from __future__ import annotations

import argparse
import base64
import re
import shutil
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

from build_notebooks import ROOT as NOTEBOOKS
from build_notebooks import notebook_of
from handout_figures import FIGURES
from nbconvert.filters.markdown_mistune import markdown2html_mistune

ROOT = Path(__file__).parent.parent

_STYLE = """
@page { size: A4; margin: 12mm; }
* { box-sizing: border-box; }
html { color-scheme: light; }
body { margin: 0 auto; width: 186mm; max-width: 100%; font: 10.5pt/1.35 system-ui, sans-serif; color: #1d1d1f;
  background: #fff; }
main { min-height: 271mm; display: flex; flex-direction: column; }
h1 { font-size: 15pt; margin: 0; } h2 { font-size: 11.5pt; margin: 2.5mm 0 1mm; }
header { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: baseline; gap: 0 6mm;
  border-bottom: .4mm solid #0b5cad; padding-bottom: 1mm; }
p, ul, ol { margin: 0 0 1mm; } a { color: #0b5cad; } code { font-size: .92em; overflow-wrap: anywhere; }
img { display: block; margin: 1mm auto; max-width: 100%; max-height: 78mm; }
.room { flex: 1 1 14mm; min-height: 13mm; margin-bottom: 2mm;
  background: repeating-linear-gradient(#fff 0 23px, #b9b9c2 23px 24px);
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
table { border-collapse: collapse; width: 100%; margin: 1mm 0; }
td, th { border: .2mm solid #8a8a92; padding: .6mm 2mm; text-align: left; height: 7mm; }
footer { font-size: 8.5pt; color: #3a3a40; border-top: .2mm solid #8a8a92; padding-top: 1mm; margin-top: 2mm; }
.key { transform: rotate(180deg); font-size: 7.5pt; color: #55555c; margin: 1mm 0 0; }
@media screen { body { padding: 4mm; } main { min-height: 0; } .room { min-height: 20mm; } }
"""


def questions_of(name: str) -> list[str]:
    """The questions of a notebook, Markdown each.

    Raises:
        ValueError: a notebook without questions.
    """
    cells = notebook_of(NOTEBOOKS / "src" / f"{name}.py").cells
    text = next((c.source for c in cells if c.cell_type == "markdown" and "## Questions" in c.source), "")
    asked = text.partition("## Questions")[2].partition("<details>")[0]
    found = re.findall(r"^\d+\. (.*?)(?=^\d+\. |\Z)", asked, flags=re.DOTALL | re.MULTILINE)
    if not found:
        raise ValueError(f"The notebook {name} has no list below '## Questions'.")
    return [" ".join(question.split()) for question in found]


def plan_section(name: str, heading: str) -> str:
    """One section of a lesson plan, Markdown."""
    plan = (ROOT / "docs" / "teaching" / f"{name}.md").read_text(encoding="utf-8")
    return plan.partition(f"## {heading}\n")[2].partition("\n## ")[0].strip()


def handout(name: str, notebook: str = "../../notebooks/{}.ipynb", glossary: str = "../../docs/glossary.md") -> str:
    """The handout of a notebook as one HTML text.

    Args:
        notebook, glossary: where their pages are, from the handout's, {} the name; "" is no link.
    """
    from ijepa_viz.figures import png

    plan = (ROOT / "docs" / "teaching" / f"{name}.md").read_text(encoding="utf-8")
    title = re.match(r"# Lesson: (.+)", plan)
    assert title is not None
    figure, task, key = FIGURES[name]()
    content = base64.b64encode(png(figure, dpi=150)).decode()
    asked = "".join(
        f"{_html(f'**{number}.** {question}')}<div class=room></div>"
        for number, question in enumerate(questions_of(name), 1)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Handout: {escape(title[1])}</title><style>{_STYLE}</style></head><body><main>"
        f"<header><h1>{escape(title[1])}</h1><span>Name ______________________ Date __________</span></header>"
        f'{_html(task)}<img alt="{escape(figure.alt, quote=True)}" src="data:image/png;base64,{content}">'
        f"<h2>Questions</h2>{asked}<h2>To hand in</h2>{_html(plan_section(name, 'To hand in'))}"
        f"<footer>{_link(notebook.format(name), f'notebooks/{name}.ipynb')} · {_link(glossary, 'docs/glossary.md')} · "
        f"the paper: {_link('https://arxiv.org/abs/2301.08243', 'arxiv.org/abs/2301.08243')}"
        f"{f'<div class=key>{escape(key)}</div>' if key else ''}</footer>"
        "</main></body></html>"
    )


def _link(address: str, words: str) -> str:
    return f'<a href="{address}">{words}</a>' if address else words


def _html(markdown: str) -> str:
    return markdown2html_mistune(markdown)


def find_browser() -> str | None:
    """An installed Chrome or Chromium."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def print_pdf(browser: str, page: Path) -> Path:
    """Print a page beside itself; returns the PDF.

    Raises:
        RuntimeError: the browser wrote nothing, with its messages.
    """
    pdf = page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
        command += [f"--user-data-dir={profile}", f"--print-to-pdf={pdf.resolve()}", page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode or not pdf.is_file():
        raise RuntimeError(f"{browser} printed no {pdf.name}: {done.stderr[-500:]}")
    return pdf


def main(arguments: list[str] | None = None) -> int:
    """Build; returns the exit status."""
    from ijepa_viz.runtime.files import write_file

    parser = argparse.ArgumentParser(description="Write a handout of one A4 page for every lesson.")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "handouts", help="folder to write")
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="only lessons whose name starts so")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    browser = find_browser()
    for name in FIGURES:
        if options.only and not name.startswith(tuple(options.only)):
            continue
        page = options.out / f"{name}.html"
        write_file(page, handout(name).encode())
        print(print_pdf(browser, page) if browser else page, flush=True)
    if browser is None:
        print("No Chrome or Chromium is installed: open the pages and print them yourself.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
