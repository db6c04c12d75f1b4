"""The documentation: links, navigation, public names, and a site that loads nothing from a network."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|(?:href|src)=\"([^\"]+)\"")


def generated() -> dict[str, Path]:
    """Page or picture of the site -> the file elsewhere in the project, as ``tools/docs_hooks.py`` names them."""
    named = {f"tutorials/{path.name}": path for path in (ROOT / "notebooks").glob("*.ipynb")}
    named |= {f"images/{path.name}": path for path in (ROOT / "notebooks" / "images").glob("*.png")}
    named |= {f"results/{path.parent.name}.md": path for path in (ROOT / "ijepa_viz" / "weights").glob("*/README.md")}
    elsewhere = {
        "changelog.md": "CHANGELOG.md",
        "contributing.md": "CONTRIBUTING.md",
        "results/recipe.md": "train/RECIPE.md",
        "results/study.md": "decoders/STUDY.md",
    }
    return named | {page: ROOT / file for page, file in elsewhere.items()}


def links(text: str) -> list[str]:
    """Targets of Markdown and HTML links and pictures, without those in code."""
    text = re.sub(r"^(```|~~~)[\s\S]*?^\1", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "", text)
    return [first or second for first, second in _LINK.findall(text)]


def is_internal(link: str) -> bool:
    return not urlsplit(link).scheme and not link.startswith("//")


def nav_files(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    values = entry.values() if isinstance(entry, dict) else entry
    return [file for value in values for file in nav_files(value)]


def configuration() -> dict:
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def test_links_are_found_in_markdown_and_html_and_not_in_code():
    text = 'A [b](c.md) and ![d](e.png "f") `[g](h)` <img src="i.png">\n```\n[j](k)\n```\n'
    assert links(text) == ["c.md", "e.png", "i.png"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
def test_links_of_a_page_resolve(page):
    """As files, as GitHub follows them; a link out of ``docs/`` leads to what becomes a page or picture of the site."""
    sources = set(generated().values())
    for link in filter(is_internal, links(page.read_text())):
        place = unquote(urlsplit(link).path)
        if place:
            target = (page.parent / place).resolve()
            assert target.is_file(), f"{page} links to nothing: {link}"
            assert target.is_relative_to(DOCS) or target in sources, f"{page} links out of the site: {link}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_the_top_level_resolve(name):
    for link in filter(is_internal, links((ROOT / name).read_text())):
        place = unquote(urlsplit(link).path)
        assert not place or (ROOT / place).exists(), f"{name} links to nothing: {link}"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 8000


def test_navigation_and_pages_agree():
    named = nav_files(configuration()["nav"])
    existing = {page.relative_to(DOCS).as_posix() for page in PAGES}
    pages = existing | {name for name in generated() if name.endswith((".md", ".ipynb"))}
    assert len(named) == len(set(named))
    assert set(named) == pages


def described() -> list[str]:
    """What the reference's ``:::`` directives name."""
    return [
        name for page in PAGES for name in re.findall(r"^::: ([\w.]+)", page.read_text(), flags=re.MULTILINE)
    ]  # fmt: skip


def module_file(name: str) -> Path | None:
    """The source file of a module of ours, or None."""
    place = ROOT.joinpath(*name.split("."))
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)


def defined(path: Path) -> set[str]:
    """Names that a module defines at its top level."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def test_every_directive_of_the_reference_names_something():
    for name in described():
        if module_file(name) is None:
            module, _, attribute = name.rpartition(".")
            path = module_file(module)
            assert path is not None and attribute in defined(path), f"::: {name} is not there"  # noqa: PT018


@pytest.mark.parametrize("package", ["ijepa_viz", "decoders"])
def test_the_reference_holds_every_public_name(package):
    import importlib

    module = importlib.import_module(package)
    names = described()
    homes = {name: module_file(name) for name in names}
    for public in module.__all__:
        if public.startswith("__"):
            continue
        value = getattr(module, public)
        home = value.__module__
        path = module_file(home)
        assert path is not None
        assert public in defined(path)
        shown = path in homes.values() or f"{home}.{public}" in names or f"{package}.{public}" in names
        assert shown, f"{package}.{public}, of {home}, is not in docs/reference"


# ------------------------------------------------------------------------------------------------ the built site


class _Loads(HTMLParser):
    """Collects what a page loads by itself, what it links to, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.anchors: set[str] = set()
        self.style = False
        self.code: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.linked.append(values["href"])
        elif tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(values.get("href", ""))
        else:
            self.loaded += [values[name] for name in ("src", "poster", "data") if name in values]
            self.loaded += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]
        self.style = tag in ("style", "script")
        self.code.append(values.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self.style = False

    def handle_data(self, data: str) -> None:
        if self.style:
            self.code.append(data)


def read(page: Path) -> _Loads:
    parser = _Loads()
    parser.feed(page.read_text())
    return parser


_FETCHES = re.compile(r"url\(\s*['\"]?(?:https?:)?//|@import\s+['\"](?:https?:)?//|import\s*\(?['\"]https?://")


def test_an_external_load_is_noticed(tmp_path):
    page = tmp_path / "a.html"
    page.write_text(
        '<a href="https://example.org">x</a><link rel="stylesheet" href="https://cdn.example/a.css">'
        '<script src="//cdn.example/b.js"></script><style>@import "https://cdn.example/c.css";</style>'
    )
    found = read(page)
    assert [link for link in found.loaded if not is_internal(link)] == [
        "https://cdn.example/a.css",
        "//cdn.example/b.js",
    ]
    assert any(_FETCHES.search(code) for code in found.code)
    assert found.linked == ["https://example.org"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built without executing any notebook."""
    if importlib.util.find_spec("mkdocs_jupyter") is None:
        pytest.skip("mkdocs is not installed: pip install -e '.[docs,lab]', or make docs")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "tools" / "build_docs.py"), "--no-execute", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {page: read(page) for page in sorted(out.rglob("*.html"))}, out


@pytest.mark.slow
def test_the_site_loads_nothing_from_a_network(site):
    pages, out = site
    assert len(pages) >= 50
    for page, found in pages.items():
        outside = [link for link in found.loaded if not is_internal(link) and not link.startswith("data:")]
        assert outside == [], page
        assert not any(_FETCHES.search(code) for code in found.code), page
    for style in out.rglob("*.css"):
        assert not _FETCHES.search(style.read_text()), style


@pytest.mark.slow
def test_every_link_of_the_site_resolves(site):
    pages, out = site
    broken = []
    for page, found in pages.items():
        if page.name == "404.html":  # served from anywhere, so its links are absolute
            continue
        for link in filter(is_internal, found.linked + found.loaded):
            parts = urlsplit(link)
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not target.exists():
                broken.append(f"{page.relative_to(out)}: {link}")
            elif target in pages and parts.fragment not in ("", "__codelineno", *pages[target].anchors):
                broken.append(f"{page.relative_to(out)}: {link} (no such place)")
    assert broken == []
