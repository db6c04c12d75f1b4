"""Lines on stderr about a picture that a command takes, but whose answer says less than it seems to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from ijepa_viz.models import ModelConfig

_SEEN = 0.5  # share of a picture below which a crop is said, and of the model's side below which enlarging is
_FACE = 0.5  # share of the shorter side: of the pictures that cats-tiny learned from, faces fill more
_SAID: set[str] = set()


def say_once(words: str) -> None:
    """Write a line on stderr, once a process: several models look at one picture."""
    if words not in _SAID:
        _SAID.add(words)
        print(words, file=sys.stderr)


def hint_at_transparency(path: Path) -> None:
    """Say where a picture's transparency was read as white; ``path`` is one that could be read."""
    from PIL import Image

    with Image.open(path) as image:
        clear = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
        if clear and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            say_once(f"{path} is transparent in places: they are read as white.")


def hint_at_fit(text: str, picture: Image, config: ModelConfig, fit: str) -> None:
    """Say where little of a picture is seen after ``--fit crop``, or so few pixels that they are enlarged twice."""
    from ijepa_viz.data.picture_size import height_and_width

    if fit != "crop":
        return
    high, wide = height_and_width(config.image_size)
    scale = min(picture.height / high, picture.width / wide)
    part = f"{round(wide * scale)}x{round(high * scale)} px"
    share = high * wide * scale**2 / (picture.height * picture.width)
    whole = f"{text} is {picture.width}x{picture.height} px"
    if share < _SEEN:
        say_once(f"{whole}: only its middle {part} are seen, {100 * share:.1f} % of it (other ways: --fit).")
    if scale < _SEEN:
        say_once(f"{whole}: what is seen, {part}, is enlarged to {wide}x{high} px and blurred.")


def hint_at_kind(text: str, picture: Image, model: str, fit: str) -> None:
    """Say where what is seen of a picture is of another kind than a bundled model learned from."""
    from ijepa_viz import examples
    from ijepa_viz.data.fitting import centre_crop

    if fit == "crop":  # a face outside of the crop is none
        picture = centre_crop(picture, min(picture.size))

    kind = examples.kind_of(model)
    if text.startswith("scene:") and not Path(text).exists():
        if kind in (examples.PHOTOGRAPHS, examples.CATS, examples.BIRDS):
            say_once(f"{text} is a drawn scene, and {model} learned from {kind}: menagerie-tiny knows scenes.")
    elif kind == examples.CATS and (words := cat_face_words(text, picture)):
        say_once(words)


def cat_face_words(text: str, picture: Image) -> str:
    """What keeps a model of cats' faces from knowing this picture; empty where a face fills it."""
    from ijepa_viz.data.cat_faces import can_find_faces, find_cat_face

    known = "This model learned from cats' faces that fill the picture: of others its numbers say little."
    if not can_find_faces():
        return f"{text} is not searched for a cat's face, since OpenCV is not installed (the extra 'judge'). {known}"
    box = find_cat_face(picture)
    if box is None:
        return f"{text} has no cat's face that OpenCV finds, though it misses some. {known}"
    share = (box[2] - box[0]) / min(picture.size)
    if share < _FACE:
        return (
            f"The cat's face in {text} has {100 * share:.0f} % of its shorter side. {known} Cut the picture to the "
            "face; ijepa-viz demo --image does so."
        )
    return ""
