"""Model sizes: one dataclass, and the published sizes by name (appendix A)."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from ijepa_viz.data.picture_size import ImageSize, height_and_width, image_size
from ijepa_viz.masks import Grid
from ijepa_viz.models.activations import ACTIVATIONS

# name: (width, depth, heads, MLP ratio).
SIZES: dict[str, tuple[int, int, int, float]] = {
    "tiny": (192, 12, 3, 4.0),
    "small": (384, 12, 6, 4.0),
    "base": (768, 12, 12, 4.0),
    "large": (1024, 24, 16, 4.0),
    "huge": (1280, 32, 16, 4.0),
    "giant": (1408, 40, 16, 48 / 11),
}


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of an I-JEPA.

    Attributes:
        image_size: of the images, in pixels: one number for squares, or (height, width).
        patch_size: height = width of a patch, in pixels.
        width, depth, heads, mlp_ratio: the encoders' ViT.
        predictor_width, predictor_depth, predictor_heads: the predictor; width 0 means none.
        norm_eps: of every LayerNorm.
        activation: of every MLP, a name of :data:`ijepa_viz.models.activations.ACTIVATIONS`; the papers' is "gelu".
        frames: T of a model of films; 1 is a model of pictures.
        tubelet: frames of a token, as V-JEPA's 2 (arXiv 2404.08471, section 3).
        cue_tokens: most words of a cue that the predictor takes; 0 is a predictor without cues.
        cue_vocabulary: number of word ids, 0 (padding) among them.
        encoder_steps: of a model of films, "joint" lets the encoders' tokens attend to all of the film, as V-JEPA's do;
            "separate" encodes every step by itself, as a picture, with a picture's positions: an encoder of pictures
            then serves as it is, and time is the predictor's alone, as in V-JEPA 2-AC (arXiv 2506.09985, section 4).
        predictor_context: "separate" runs the predictor once for each target block, as in the paper; "shared" computes
            the context once for all blocks: targets attend to it and to their own block, context tokens to the context.
    """

    image_size: ImageSize = 224
    patch_size: int = 14
    width: int = 1280
    depth: int = 32
    heads: int = 16
    mlp_ratio: float = 4.0
    predictor_width: int = 384
    predictor_depth: int = 12
    predictor_heads: int = 16
    norm_eps: float = 1e-6
    predictor_context: str = "separate"
    activation: str = "gelu"
    frames: int = 1
    tubelet: int = 1
    cue_tokens: int = 0
    cue_vocabulary: int = 0
    encoder_steps: str = "joint"

    def __post_init__(self) -> None:
        if self.predictor_context not in ("separate", "shared"):
            raise ValueError(f"predictor_context must be 'separate' or 'shared', got {self.predictor_context!r}.")
        if self.encoder_steps not in ("joint", "separate"):
            raise ValueError(f"encoder_steps must be 'joint' or 'separate', got {self.encoder_steps!r}.")
        if self.activation not in ACTIVATIONS:
            near = difflib.get_close_matches(self.activation, ACTIVATIONS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}.{hint}")
        object.__setattr__(self, "image_size", image_size(self.image_size))
        if self.patch_size < 1 or any(side % self.patch_size for side in self.height_and_width):
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}.")
        for name, width, heads in (
            ("width", self.width, self.heads),
            ("predictor_width", self.predictor_width, self.predictor_heads),
        ):
            if width % max(heads, 1):
                raise ValueError(f"{name} {width} must divide by its number of heads, {heads}.")
            if width % 4:
                raise ValueError(f"{name} {width} must divide by 4 for the position embedding.")
        self._check_films_and_cues()

    def _check_films_and_cues(self) -> None:
        if self.tubelet < 1 or self.frames < 1 or self.frames % self.tubelet:
            raise ValueError(
                f"frames {self.frames} is not a multiple of tubelet {self.tubelet}, the frames of a token: pictures "
                "have frames=1 and tubelet=1, films for example frames=16 and tubelet=2."
            )
        if self.steps > 1 and min(self.width, self.predictor_width or self.width) < 8:
            raise ValueError(
                f"width {self.width} and predictor_width {self.predictor_width} must be at least 8 for positions in "
                "time, row and column."
            )
        if (self.cue_tokens > 0) != (self.cue_vocabulary > 1) or min(self.cue_tokens, self.cue_vocabulary) < 0:
            raise ValueError(
                f"cue_tokens {self.cue_tokens} and cue_vocabulary {self.cue_vocabulary} belong together: both 0 for a "
                "predictor without cues, or the most words of a cue and the number of ids, padding among them."
            )
        if self.cue_tokens and not self.predictor_width:
            raise ValueError("cue_tokens belong to a predictor: set predictor_width, or cue_tokens to 0.")

    @property
    def height_and_width(self) -> tuple[int, int]:
        """(height, width) of the images, in pixels."""
        return height_and_width(self.image_size)

    @property
    def grid(self) -> Grid:
        """(rows, cols) of the patch grid."""
        height, width = self.height_and_width
        return height // self.patch_size, width // self.patch_size

    @property
    def steps(self) -> int:
        """Steps of time of the tokens, ``frames / tubelet``; 1 for pictures."""
        return self.frames // self.tubelet

    @property
    def num_patches(self) -> int:
        """N, tokens of a whole picture or film: steps x rows x cols."""
        return self.steps * self.grid[0] * self.grid[1]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (3, H, W) of a picture, (T, 3, H, W) of a film."""
        picture = (3, *self.height_and_width)
        return picture if self.frames == 1 else (self.frames, *picture)

    @classmethod
    def of_size(cls, size: str, **options: Any) -> ModelConfig:
        """The config of a named size; ``options`` override single fields.

        The predictor's number of heads defaults to the encoder's, as published.

        Raises:
            ValueError: an unknown size; the message names the nearest.
        """
        if size not in SIZES:
            near = difflib.get_close_matches(size, SIZES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"No model size {size!r}; there are {', '.join(SIZES)}.{hint}")
        width, depth, heads, ratio = SIZES[size]
        fields = {"width": width, "depth": depth, "heads": heads, "mlp_ratio": ratio}
        return cls(**{**fields, "predictor_heads": heads, **options})
