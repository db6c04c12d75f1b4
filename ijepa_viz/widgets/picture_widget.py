"""Common base of the widgets: scripts without imports, and a static image with alternative text as fallback."""

from __future__ import annotations

import base64
import difflib
import io
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from matplotlib.figure import Figure
from PIL import Image

from ijepa_viz.figures import png

_HERE = Path(__file__).parent


def javascript(*names: str) -> str:
    """A widget's ESM: the shared parts and these files concatenated, without imports at run time."""
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in ("page_parts.js", *names))


def encode(image: Image.Image) -> bytes:
    """Encode an image as PNG, at a fast compression level."""
    out = io.BytesIO()
    image.save(out, "png", compress_level=1)
    return out.getvalue()


def data_uri(image: Image.Image) -> str:
    """Encode an image as a PNG ``data:`` URI."""
    return "data:image/png;base64," + base64.b64encode(encode(image)).decode()


class PictureWidget(anywidget.AnyWidget):
    """Widget whose MIME bundle also has a static image, for exported pages and front ends without widgets.

    Attributes:
        error: message shown on the page, because tracebacks of callbacks are not visible there.

    Raises:
        TypeError: an option that the widget has not.
    """

    error = traitlets.Unicode("").tag(sync=True)

    def __init__(self, *args: Any, **traits: Any) -> None:
        for name in traits:
            if not self.has_trait(name):  # traitlets itself drops it with a warning that notebooks do not show
                known = sorted(n for n in self.trait_names() if not n.startswith("_"))
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise TypeError(f"{type(self).__name__} has no option {name!r}.{hint}")
        super().__init__(*args, **traits)

    def still(self) -> tuple[Image.Image | Figure, str]:
        """Static image, and its alternative text."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        if data is None:
            return bundle
        picture, alt = self.still()
        content = base64.b64encode(png(picture) if isinstance(picture, Figure) else encode(picture)).decode()
        html = f'<img alt="{escape(alt, quote=True)}" src="data:image/png;base64,{content}">'
        return {**data, "text/html": html, "image/png": content}, metadata
