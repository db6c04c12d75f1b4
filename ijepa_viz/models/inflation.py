"""The weights of a model of pictures for one of films."""

from __future__ import annotations

from torch import Tensor

from ijepa_viz.models.ijepa import IJEPA


def inflated(pictures: dict[str, Tensor], films: IJEPA) -> dict[str, Tensor]:
    """The state dict of a model of pictures for one of films (the inflation of I3D, arXiv 1705.07750, section 2.3).

    Each frame of a tubelet gets its share of the patch embedding, so that a still film is embedded as its picture is.
    Positions, and an embedding of cues that the model of pictures lacks, are those of ``films``.

    Raises:
        KeyError: a weight that the model of pictures lacks.
    """
    tubelet, found = films.config.tubelet, {}
    for name, own in films.state_dict().items():
        other = pictures.get(name)
        if name.endswith("pos_embed") or (
            name.startswith("predictor.cues.") and (other is None or other.shape != own.shape)
        ):
            found[name] = own
        elif name.endswith("patch_embed.proj.weight") and tubelet > 1:
            found[name] = (pictures[name][:, :, None] / tubelet).expand_as(own).clone()
        else:
            found[name] = pictures[name]
    return found
