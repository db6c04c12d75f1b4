"""Locate the decoder of a model."""

from __future__ import annotations

from pathlib import Path


def decoder_of(model: str) -> str | Path:
    """Source of a model's decoder for ``load_decoder``: the ``decoder/`` in its folder, or its bundled name.

    Raises:
        FileNotFoundError: a model without a decoder.
        ValueError: one that cannot have a decoder, because it predicts nothing.
    """
    from ijepa_viz.checkpoints import bundled_names, folder_of, hub_folder, is_hub_name, why_no_predictor

    if is_hub_name(model):
        folder = hub_folder(model)
        if why := why_no_predictor(folder):
            raise ValueError(f"This model has an encoder only, so there is no prediction to decode. {why}")
        if not (folder / "decoder").is_dir():
            raise FileNotFoundError(f"The model {model} of the Hugging Face hub has no decoder.")
        return folder / "decoder"
    if why := why_no_predictor(model):
        raise ValueError(f"This model has an encoder only, so there is no prediction to decode. {why}")
    if model in bundled_names():
        return model
    folder = folder_of(model)
    if not (folder / "decoder").is_dir():
        raise FileNotFoundError(
            f"{folder} has no decoder in it. Train one, `python -m decoders --fname CONFIG ijepa={folder}`, and put "
            f"both into one folder: `ijepa-viz export {folder} FOLDER --decoder RUN/step-XXXXXXXX`."
        )
    return folder / "decoder"
