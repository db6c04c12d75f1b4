"""Locate the decoder of a model."""

from __future__ import annotations

from pathlib import Path


def decoder_of(model: str) -> str | Path:
    """Source of a model's decoder for ``load_decoder``: the ``decoder/`` in its folder, or its bundled name.

    Raises:
        FileNotFoundError: a folder without a decoder.
    """
    folder = Path(model)
    if not folder.is_dir():
        return model
    if not (folder / "decoder").is_dir():
        raise FileNotFoundError(
            f"{folder} has no decoder in it. Train one, `python -m decoders --fname CONFIG ijepa={folder}`, and put "
            f"both into one folder: `ijepa-viz export {folder} FOLDER --decoder RUN/step-XXXXXXXX`."
        )
    return folder / "decoder"
