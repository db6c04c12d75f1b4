"""Build the live page's folder: scripts, the sheet of pictures, and answers that are computed before."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any, Protocol

from ijepa_viz import __version__
from ijepa_viz.data.picture_size import ImageSize
from ijepa_viz.models import IJEPA
from ijepa_viz.page.answers import write_answers
from ijepa_viz.page.films import SHEET, film_chapter
from ijepa_viz.page.pictures import PagePicture, page_pictures, write_pictures
from ijepa_viz.page.scripts import painter_module
from ijepa_viz.prediction import Sampler
from ijepa_viz.runtime.files import write_file

HERE = Path(__file__).parent

# Number of pictures of the sheet, and of those with answers that are computed before: the first of the row.
PICTURES, ANSWERED = 176, 4

# Static hosts that read this file (Netlify, Cloudflare Pages) send these headers: threads need them.
HEADERS = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


class PageSampler(Sampler, Protocol):
    """A decoder that says how large its pictures are: the page shows its own at that size, beside them."""

    @property
    def image_size(self) -> ImageSize:
        """Size in pixels of the pictures that it draws."""
        ...


def build_page(
    folder: Path,
    model: IJEPA,
    decoder: PageSampler,
    *,
    pictures: int = PICTURES,
    answered: int = ANSWERED,
    holes: int | None = None,
    engine: Path | None = None,
    films: tuple[IJEPA, Sampler] | None = None,
) -> list[Path]:
    """Write the page into ``folder``; its ``models/`` and ``ort/``, which the export writes, are left as they are.

    Args:
        folder: made if it is missing.
        model, decoder: of the answers that are computed before; the same that are exported.
        pictures: number of drawn scenes and photographs. answered: how many of them have answers.
        holes: number of holes with answers; None is all.
        engine: another script in place of ``engine.js``, for tests.
        films: a model of films with cues, and its decoder, for the chapter on films; None leaves the chapter out.

    Returns:
        The written files.

    Raises:
        ValueError: fewer pictures than answers, or not even one of each.
    """
    if not 1 <= answered <= pictures:
        raise ValueError(f"Answers are for 1 to {pictures} of the pictures, got {answered}.")
    shown = page_pictures(model.config.image_size, pictures, decoder.image_size)
    files: dict[str, bytes] = {path.name: path.read_bytes() for path in sorted(HERE.glob("*.*")) if _is_shipped(path)}
    if engine is not None:
        files["engine.js"] = engine.read_bytes()
    files["painter.js"] = painter_module().encode()
    site = _site(model, shown)
    if films is not None:
        site["films"], files[SHEET] = film_chapter(*films)
    files["data/site.json"] = _json(site)
    files["LICENSE"] = _licence()
    files["_headers"] = ("/*\n" + "".join(f"  {name}: {value}\n" for name, value in HEADERS.items())).encode()
    files |= write_pictures(shown)
    files |= write_answers(shown[:answered], model, decoder, holes)
    written = []
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)
        written.append(path)
    return written


def missing_parts(folder: Path) -> list[str]:
    """Folders that the page needs for its model, and that are not in ``folder``."""
    return [name for name in ("models", "ort") if not any((folder / name).glob("*"))]


def _is_shipped(path: Path) -> bool:
    return path.suffix in (".html", ".css", ".js")


def _licence() -> bytes:
    """The project's licence; that of onnxruntime-web is kept in ``ort/``.

    Raises:
        FileNotFoundError: it is neither beside the package nor among its installed files.
    """
    beside = HERE.parent.parent / "LICENSE"
    if beside.is_file():
        return beside.read_bytes()
    for file in importlib.metadata.files("ijepa-viz") or ():
        if file.name == "LICENSE":
            return file.read_binary()
    raise FileNotFoundError("The licence of ijepa-viz is missing, and no page is passed on without: install it anew.")


def _site(model: IJEPA, shown: list[PagePicture]) -> dict[str, Any]:
    rows, cols = model.grid
    return {
        "version": __version__,
        "grid": [rows, cols],
        "films": None,
        "first": {"picture": shown[0].id, "mask": shown[0].hole_text((rows, cols))},
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
