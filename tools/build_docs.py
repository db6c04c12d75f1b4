"""Build the documentation: ``python tools/build_docs.py`` executes the notebooks and writes the site, ``out/docs``.

The site has slides and a handout for each lesson plan.

An executed notebook is kept in ``out/docs-notebooks`` and executed again when it, or any file of the packages, has
changed. ``--no-execute`` takes what is there, and shows a notebook that was never executed without its outputs.
Warnings are errors.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from docs_hooks import EXECUTED, KEY, ROOT, digest

PACKAGES = ("ijepa_viz", "train", "decoders")


def code_digest() -> str:
    """The sha256 of all files of the packages that a notebook's outputs may depend on."""
    found = hashlib.sha256()
    for path in sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*") if p.is_file()):
        if "__pycache__" not in path.parts and path.suffix != ".md":
            found.update(f"{path.relative_to(ROOT)} {digest(path)}\n".encode())
    return found.hexdigest()


def execute(path: Path, code: str, timeout: int) -> tuple[float, str]:
    """Execute a notebook into :data:`EXECUTED`, of which no cell may take longer than ``timeout`` seconds.

    Widgets are kept as their picture only: their state needs a kernel, and their viewer a network.

    Returns:
        The seconds it took, and why it stopped: empty if it ran to its end. What stopped is not kept.
    """
    from build_gallery import attempt, without_widgets

    from ijepa_viz.runtime.files import write_file

    start = time.perf_counter()
    notebook, stopped = attempt(path, timeout)
    if not stopped:
        notebook = without_widgets(notebook)
        notebook.metadata[KEY] = {"notebook": digest(path), "code": code}
        EXECUTED.mkdir(parents=True, exist_ok=True)
        write_file(EXECUTED / path.name, nbformat.writes(notebook).encode())
    return time.perf_counter() - start, stopped


def is_current(path: Path, code: str) -> bool:
    """Whether a notebook's executed copy is of this text and this code."""
    kept = EXECUTED / path.name
    made_from = {"notebook": digest(path), "code": code}
    return kept.is_file() and nbformat.read(kept, as_version=4).metadata.get(KEY) == made_from


def write_lessons(folder: Path) -> None:
    """Write every notebook's slides and handout below ``folder``, where ``docs_hooks`` links to them."""
    from build_handouts import FIGURES, handout
    from build_slides import plan_of, slides
    from docs_hooks import notebook_page

    from ijepa_viz.runtime.files import write_file

    for kind in ("slides", "handouts"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(notebook_page(path), as_version=4)
        write_file(folder / "slides" / f"{path.stem}.html", slides(notebook, plan_of(path.stem)).encode())
    for name in FIGURES:
        page = handout(name, "../../tutorials/{}.html", "../../glossary.html")
        write_file(folder / "handouts" / f"{name}.html", page.encode())


def main(arguments: list[str] | None = None) -> int:
    """Build; returns mkdocs' exit status, or 1 and no site if a notebook did not run to its end."""
    parser = argparse.ArgumentParser(description="Build the documentation.")
    parser.add_argument("--no-execute", action="store_true", help="take the notebooks' outputs that are there")
    parser.add_argument("--only-execute", action="store_true", help="execute the notebooks and build no site")
    parser.add_argument("--workers", type=int, default=2, help="notebooks executed at the same time")
    parser.add_argument("--timeout", type=int, default=600, metavar="S", help="seconds a cell may take (default 600)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "docs", help="where the site goes")
    options = parser.parse_args(arguments)
    if not options.no_execute:
        code = code_digest()
        stale = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if not is_current(path, code)]
        stopped = 0
        with ThreadPoolExecutor(options.workers) as workers:
            done = workers.map(lambda p: execute(p, code, options.timeout), stale)
            for path, (seconds, why) in zip(stale, done, strict=True):
                print(f"{path.stem:32} {f'stopped: {why}' if why else 'executed'} in {seconds:.0f} s", flush=True)
                stopped += bool(why)
        if stopped:
            print(f"{stopped} of {len(stale)} notebooks did not run to their end; those that did are kept.")
            return 1
    if options.only_execute:
        return 0
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml")]
    status = subprocess.call([*command, "--site-dir", str(options.out.resolve())])
    if not status:
        write_lessons(options.out / "teaching")
        print((options.out / "index.html").resolve())
    return status


if __name__ == "__main__":
    sys.exit(main())
