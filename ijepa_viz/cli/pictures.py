"""The IMAGE argument of the commands: a file, or a drawn scene."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from ijepa_viz.cli.hints import hint_at_transparency

if TYPE_CHECKING:
    from PIL.Image import Image

    from ijepa_viz.data.picture_size import ImageSize

IMAGE_HELP = "an image file, or scene:NUMBER for a drawn scene, such as scene:3"

_TEST_SEED = 1  # of the scenes that no bundled model was trained on


def check_picture(text: str) -> None:
    """Check an IMAGE argument without reading it.

    Raises:
        FileNotFoundError: no such file; the message names the nearest one. IsADirectoryError: a folder.
        ValueError: ``scene:`` without a number.
    """
    path = Path(text)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name one image file in it.")
    if path.exists() or _scene_number(text) is not None:
        return
    near = difflib.get_close_matches(path.name, _names(path.parent), n=1)
    hint = f" Did you mean {path.parent / near[0]}?" if near else ""
    raise FileNotFoundError(f"There is no image file {path}.{hint}")


def open_picture(text: str, size: ImageSize) -> Image:
    """The picture of an IMAGE argument; scenes are drawn at ``size`` px. Transparency that became white is said.

    Raises:
        FileNotFoundError, ValueError: as :func:`check_picture` and :func:`ijepa_viz.data.reading.read_image`.
    """
    from PIL import Image

    from ijepa_viz.data.menagerie.framing import framed_scene
    from ijepa_viz.data.transforms import read_image

    check_picture(text)
    number = None if Path(text).exists() else _scene_number(text)
    if number is None:
        picture = read_image(Path(text))
        hint_at_transparency(Path(text))
        return picture
    return Image.fromarray(framed_scene(number, size, seed=_TEST_SEED).image)


def is_picture(text: str) -> bool:
    """Whether a word is an IMAGE and no MODEL, by its looks: ``scene:``, or a picture file's ending."""
    from ijepa_viz.data.formats import KNOWN_BUT_UNREADABLE, SUFFIXES

    return text.startswith("scene:") or Path(text).suffix.lower() in (*SUFFIXES, *KNOWN_BUT_UNREADABLE)


def _scene_number(text: str) -> int | None:
    scheme, colon, number = text.partition(":")
    if scheme != "scene" or not colon:
        return None
    if not (number.isascii() and number.isdigit()):
        raise ValueError(
            f"{text} is no drawn scene: it is scene:NUMBER with a whole number from 0, such as scene:3. The same "
            "number is always the same scene."
        )
    return int(number)


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:  # only a suggestion is lost
        return []
