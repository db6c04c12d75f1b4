"""The three networks of I-JEPA together: context encoder, predictor, EMA target encoder (section 3, figure 3)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ijepa_viz.data.picture_size import in_words
from ijepa_viz.masks import Grid, Masks, padded_indices
from ijepa_viz.models.config import ModelConfig
from ijepa_viz.models.encoder import Encoder
from ijepa_viz.models.patches import gather_targets
from ijepa_viz.models.predictor import Predictor
from ijepa_viz.models.vit import interpolate_positions

# Ways to a position embedding for another grid.
POSITIONS = ("interpolated", "recomputed")

# Largest difference of a stored sin-cos embedding from the computed one: stored in half precision, 0.0005.
_ROUNDED = 2e-3


def set_activation_checkpointing(net: nn.Module, enabled: bool) -> None:
    """Enable or disable activation checkpointing in the encoders and predictors of ``net``."""
    for module in net.modules():
        if isinstance(module, Encoder | Predictor):
            module.activation_checkpointing = enabled


def target_layer_norm(tokens: Tensor) -> Tensor:
    """Parameter-free LayerNorm over the features of target tokens, (..., D) -> (..., D).

    The loss's targets are normalised so in the reference code (section 3, "Loss"): every token has mean 0 and
    variance 1 over its D features.
    """
    return F.layer_norm(tokens, tokens.shape[-1:])


class IJEPA(nn.Module):
    """Context encoder, predictor and EMA target encoder.

    ``predictor`` is None for encoder-only checkpoints; :meth:`predict` then raises, and says ``why_no_predictor``,
    which whoever loads the model sets.

    Attributes:
        trained_config: of the model that :meth:`at` was called on, at the resolution of its weights; None of that one.
        trained_positions: its position embeddings, by parameter name; empty of that one.
    """

    why_no_predictor = "Its config has predictor_width 0."

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.predictor = Predictor(config) if config.predictor_width else None
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.trained_config: ModelConfig | None = None
        self.trained_positions: dict[str, Tensor] = {}

    @property
    def grid(self) -> Grid:
        """(rows, cols) of the patch grid."""
        return self.config.grid

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.encoder.pos_embed.device

    def at(self, height: int, width: int, positions: str = "interpolated") -> IJEPA:
        """This model for pictures of another size: the same weights, shared and not copied, with other positions.

        Only the position embeddings are new: fixed, they have no weights of their own. The patch size stays, so that a
        picture of another size has another grid. Training one of the two models trains both.

        Args:
            height, width: of the pictures, in pixels, multiples of the patch size.
            positions: "interpolated" stretches the trained embedding over the new grid, as transformers does: nothing
                is unseen, but neighbouring patches are nearer to each other than in training. "recomputed" computes
                the sin-cos embedding for the new grid: a patch in row 3 has the embedding of row 3, and rows beyond
                those of the training have embeddings that the networks have never seen. The probe ``sizes`` compares
                the two: on menagerie-tiny, interpolated predicts better at every size.

        Returns:
            A model with the same device, mode and precision. Of a model from here it is as if it were asked for at the
            resolution of the weights: nothing is interpolated twice.

        Raises:
            ValueError: a side that is no multiple of the patch size, an unknown way to positions, or "recomputed" of a
                model with learned positions.

        >>> from ijepa_viz.checkpoints import load_model
        >>> wide = load_model("menagerie-tiny").at(64, 96)
        >>> wide.grid
        (8, 12)
        """
        if positions not in POSITIONS:
            raise ValueError(f"positions is one of {', '.join(POSITIONS)}, got {positions!r}.")
        trained = self.trained_config or self.config
        config = replace(trained, image_size=(height, width))
        shared = {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in self.parameters()}
        found = copy.deepcopy(self, shared)
        found.config = found.encoder.config = found.target_encoder.config = config
        own = {name: p.detach() for name, p in self.named_parameters() if name.endswith("pos_embed")}
        tables = {**own, **{name: table.to(own[name]) for name, table in self.trained_positions.items()}}
        same = config == trained
        found.trained_config, found.trained_positions = (None, {}) if same else (trained, tables)
        for name, table in tables.items():
            owner, _, attribute = name.rpartition(".")
            net = found.get_submodule(owner)
            if not same:
                table = _other_positions(net, table, trained, config, positions)
            setattr(net, attribute, nn.Parameter(table, requires_grad=False))
        return found

    def _check(self, masks: Masks, batch: int) -> None:
        if masks.steps != self.config.steps:
            raise ValueError(
                f"The mask is for {masks.steps} step{'s' * (masks.steps > 1)} of time, this model has "
                f"{self.config.steps}: {self.config.frames} frame{'s' * (self.config.frames > 1)}, "
                f"{self.config.tubelet} a token."
                + (" Films are predicted by predict_film, and `ijepa-viz film` draws them." if masks.steps == 1 else "")
            )
        if masks.grid != self.grid:
            raise ValueError(
                f"The mask is for a {masks.grid[0]}x{masks.grid[1]} grid, this model's is "
                f"{self.grid[0]}x{self.grid[1]}: pictures of {in_words(self.config.image_size)} px in patches of "
                f"{self.config.patch_size} px."
            )
        if len(masks) != batch:
            raise ValueError(f"Masks for {len(masks)} images, but there are {batch} images.")

    def encode_context(self, images: Tensor, masks: Masks) -> Tensor:
        """Encode the context patches, (B, 3, H, W) or films (B, T, 3, H, W) -> (B, K, D).

        Args:
            images: normalised by ImageNet's mean and standard deviation. masks: of these images.

        Raises:
            ValueError: masks for another grid or another number of images.
        """
        self._check(masks, len(images))
        return self.encoder(images, masks.context, masks.context_valid)

    def predict(self, context: Tensor, masks: Masks, cues: Tensor | None = None) -> Tensor:
        """Predict the tokens of each target block, (B, K, D) -> (B, M, T, D).

        Args:
            context: of :meth:`encode_context` with the same masks.
            cues: (B, L) int64, word ids of what is to be predicted, 0 is padding; a row of zeros, or None, is no cue.

        Raises:
            ValueError: masks for another grid or another number of images; cues for a model without cues, or of words
                beyond its vocabulary.
            RuntimeError: this model has no predictor.
        """
        if self.predictor is None:
            raise RuntimeError(f"This model has an encoder only, so it cannot predict. {self.why_no_predictor}")
        self._check(masks, len(context))
        return self.predictor(context, masks) if cues is None else self.predictor(context, masks, cues)

    @torch.no_grad()
    def encode_target(self, images: Tensor, inside: Tensor | None = None) -> Tensor:
        """Encode whole images by the target encoder, (B, 3, H, W) -> (B, N, D), before the loss's LayerNorm.

        Films are (B, T, 3, H, W), as everywhere: every token then knows all of the film.

        Args:
            inside: (B, rows, cols) bool, False where an image is padding. Only the patches inside are encoded and
                attended to; the tokens elsewhere are 0. None is all patches.
        """
        if inside is None:
            return self.target_encoder(images)
        patches, valid = padded_indices(inside.flatten(1))
        tokens = self.target_encoder(images, patches, valid)
        valid = torch.ones_like(patches, dtype=torch.bool) if valid is None else valid
        # Padded indices repeat a patch: they go to one further place, which is cut off.
        places = torch.where(valid, patches, inside[0].numel())[..., None].expand_as(tokens)
        canvas = tokens.new_zeros(len(tokens), inside[0].numel() + 1, tokens.shape[-1])
        return canvas.scatter(1, places, tokens)[:, :-1]

    @torch.no_grad()
    def targets(self, images: Tensor, masks: Masks, inside: Tensor | None = None) -> Tensor:
        """Target tokens of the loss, (B, 3, H, W) -> (B, M, T, D).

        The target encoder's output on the whole image, through :func:`target_layer_norm`, gathered at the target
        blocks.

        Args:
            inside: as of :meth:`encode_target`; no target is outside.

        Raises:
            ValueError: masks for another grid or another number of images.
        """
        self._check(masks, len(images))
        tokens = self.encode_target(images) if inside is None else self.encode_target(images, inside)
        return gather_targets(target_layer_norm(tokens), masks)


def _other_positions(net: Any, table: Tensor, trained: ModelConfig, config: ModelConfig, positions: str) -> Tensor:
    """The position embedding (1, N, W) of the grid of ``trained`` for that of ``config``, on the same device."""
    if positions == "interpolated":
        return interpolate_positions(table, trained.grid, config.grid, config.steps)
    if not torch.allclose(table.float().cpu(), net.positions_of(trained), atol=_ROUNDED, rtol=0):
        raise ValueError(
            "This model's position embedding is not the fixed sin-cos one of I-JEPA, so it cannot be computed for "
            'another grid: take positions="interpolated".'
        )
    return net.positions_of(config).to(table)
