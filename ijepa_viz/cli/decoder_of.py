"""Where the decoder of a model is."""

from __future__ import annotations

from pathlib import Path


def _decoder_of(model: str) -> str | Path:
    """What ``load_decoder`` takes for a model: its folder's ``decoder/``, or a bundled name.

    Raises:
        FileNotFoundError: a folder without one.
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
