"""Where the cat's face is in a picture that is about to be cropped, for the explorer's page."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

from ijepa_viz.data.cat_faces import find_cat_face
from ijepa_viz.data.transforms import read_image


def face_part(wanted: dict[str, Any]) -> dict[str, Any]:
    """The answer to ``{"number": ..., "picture": data: URI}``: the number, and the face's square if there is one.

    Returns:
        ``{"number": ..., "part": [left, top, width, height]}`` as shares of the picture's width and height; ``part``
        is empty where no face is found, or the picture cannot be read: the crop then begins with the whole picture,
        and the upload says what is wrong with it.
    """
    part: list[float] = []
    try:
        body = str(wanted.get("picture", "")).partition(",")[2]
        image = read_image(io.BytesIO(base64.b64decode(body, validate=True)))
    except (ValueError, binascii.Error):
        return {"number": wanted.get("number"), "part": part}
    if box := find_cat_face(image):
        left, top, right, bottom = box
        part = [left / image.width, top / image.height, (right - left) / image.width, (bottom - top) / image.height]
    return {"number": wanted.get("number"), "part": part}
