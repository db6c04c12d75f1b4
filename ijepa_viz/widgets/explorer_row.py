"""The explorer's row of pictures: those to choose from, the one that is shown, and other images for its controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ijepa_viz.data.picture_size import ImageSize, height_and_width
from ijepa_viz.data.transforms import read_image, square, to_pil, to_tensor
from ijepa_viz.models import IJEPA
from ijepa_viz.prediction import Sampler, check_pair
from ijepa_viz.widgets import explorer_pictures
from ijepa_viz.widgets.explorer_pictures import Entry, OtherImage, to_uint8
from ijepa_viz.widgets.picture_widget import data_uri

# Side of the thumbnails; name of an uploaded picture.
_THUMBNAIL, _OWN = 64, "your own picture"


class ShownPicture:
    """The picture of an entry at the sizes that are asked for, each computed once."""

    def __init__(self, entry: Entry) -> None:
        self.image, self.kind = entry.image, entry.kind
        self.controls: dict[str, Tensor] = {}  # kind of a model -> other images of that kind
        self._resized: dict[ImageSize, Tensor] = {}
        self._encoded: dict[ImageSize, str] = {}

    def pixels(self, size: ImageSize) -> Tensor:
        """The picture, (3, H, W) in [0, 1], cropped and resized."""
        if size not in self._resized:
            self._resized[size] = to_tensor(self.image, size)
        return self._resized[size]

    def encoded(self, size: ImageSize) -> str:
        """The picture as a ``data:`` URI."""
        if size not in self._encoded:
            self._encoded[size] = data_uri(to_pil(self.pixels(size)))
        return self._encoded[size]


class PictureRow:
    """Entries to choose from, as a sequence; ``shown`` is the :class:`ShownPicture`, replaced as a whole.

    Args:
        first: the picture that is shown first, any input of :func:`ijepa_viz.data.transforms.read_image`.
        gallery, other: as of :class:`ijepa_viz.widgets.PredictionExplorer`.
        kinds: name of each model -> kind of its pictures, "" where it is not known.
        name: of the model whose kind all given pictures are taken to be of.
        size: of the models' input, in pixels.

    Raises:
        ValueError: an unreadable image.
    """

    def __init__(
        self, first: Any, gallery: Any, other: Any, *, kinds: Mapping[str, str], name: str, size: ImageSize
    ) -> None:
        self._kinds, kind = dict(kinds), kinds[name]
        # Of a model of unknown kind it is not known that drawn scenes are another image of its kind.
        self._guessed = other is None and not kind
        self._others: dict[str, list[OtherImage]] = {kind: explorer_pictures.read_others(other, kind, size)}
        self._entries = explorer_pictures.read_gallery(read_image(first), gallery, self._others[kind], kind)
        for further in dict.fromkeys(self._kinds.values()):
            if further and further not in self._others:
                self._others[further] = explorer_pictures.read_others(None, further, size)
                if not explorer_pictures.fits(kind, further):
                    self._entries += explorer_pictures.entries(self._others[further], further)
        self._others.setdefault("", self._others[kind])  # of a model of unknown kind beside this one
        self.shown = ShownPicture(self._entries[0])

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, place: int) -> Entry:
        return self._entries[place]

    def add_own(self, image: Image.Image) -> Entry:
        """Append an uploaded picture of unknown kind, in place of the last uploaded one; returns its entry."""
        own = Entry(_OWN, image)
        self._entries = [entry for entry in self._entries if entry.name != _OWN] + [own]
        return own

    def thumbnails(self) -> list[dict[str, str]]:
        """Of each entry its name, its kind, and its picture as a ``data:`` URI."""
        return [
            {"name": entry.name, "picture": data_uri(square(entry.image, _THUMBNAIL)), "kind": entry.kind}
            for entry in self._entries
        ]

    def has_model_of(self, kind: str) -> bool:
        """Whether one of the models learned from this kind of pictures."""
        return kind in self._kinds.values()

    def fitting_models(self) -> list[str]:
        """Names of the models that may be shown the picture."""
        return [name for name, kind in self._kinds.items() if explorer_pictures.fits(kind, self.shown.kind)]

    def fitting(self, name: str) -> list[Entry]:
        """Entries that a model may be shown."""
        return [entry for entry in self._entries if explorer_pictures.fits(entry.kind, self._kinds[name])]

    def is_guessed(self, name: str) -> bool:
        """Whether the images for a model's controls may be of another kind than its own."""
        return self._guessed and not self._kinds[name]

    def control_images(self, name: str) -> Tensor:
        """Other images of a model's kind than the one that is shown, (n, 3, H, W) uint8.

        Raises:
            ValueError: there is no other.
        """
        kind, shown = self._kinds[name], self.shown
        if kind not in shown.controls:
            others = self._others[kind]
            shown.controls[kind] = explorer_pictures.control_images(others, shown.image, self._entries[0].image)
        return shown.controls[kind]

    def images_for_mean(self, name: str) -> Tensor:
        """Images of a model's kind for the mean prediction, (n, 3, H, W) uint8.

        Raises:
            ValueError: there is only one.
        """
        return explorer_pictures.several(self.control_images(name), self.fitting(name), self.shown.image)

    def candidates(self, name: str, size: ImageSize) -> Tensor:
        """Other pictures of the shown one's kind, (n, 3, H, W) uint8: those of the row and a model's controls."""
        shown = self.shown
        images = [entry.image for entry in self._entries if explorer_pictures.fits(entry.kind, shown.kind)]
        images += [one.image for one in self._others[self._kinds[name]]]
        found = [to_uint8(image, size) for image in images if image is not shown.image]
        return torch.stack(found) if found else torch.empty(0, 3, *height_and_width(size), dtype=torch.uint8)


def check_one_painter(pairs: Mapping[str, tuple[IJEPA, Sampler]], name: str) -> None:
    """Check each decoder against its model, and that all models read the pictures of the model ``name``.

    Args:
        pairs: name -> (model, decoder).

    Raises:
        ValueError: a decoder of another model, or models of different grids or picture sizes.
    """
    mine = pairs[name][0].config
    for title, pair in pairs.items():
        check_pair(*pair)
        theirs = pair[0].config
        if (theirs.image_size, theirs.grid) != (mine.image_size, mine.grid):
            raise ValueError(
                f"{title!r} takes {theirs.image_size} px on a grid of {theirs.grid}, {name!r} {mine.image_size} px "
                f"on {mine.grid}: they cannot share one painter."
            )


def row_of(
    first: Any,
    gallery: Mapping[str, Any] | Sequence[Any] | None,
    other: Any,
    pairs: Mapping[str, tuple[IJEPA, Sampler]],
    name: str,
) -> PictureRow:
    """The row for several models with their decoders, which say of what kind each model's pictures are.

    Args:
        pairs: name -> (model, decoder). name: of the first of them.
    """
    kinds = {title: explorer_pictures.kind_of(decoder) for title, (_, decoder) in pairs.items()}
    return PictureRow(first, gallery, other, kinds=kinds, name=name, size=pairs[name][0].config.image_size)
