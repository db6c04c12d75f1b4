"""A model, its decoder and a masked autoencoder as ONNX files: ``ijepa-viz export NAME --onnx FOLDER``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ijepa_viz.cli.decoder_of import decoder_of

if TYPE_CHECKING:
    from decoders.decoder import Decoder
    from decoders.networks.network import BlockNetwork
    from ijepa_viz.models import IJEPA
    from ijepa_viz.page.onnx_graphs import Graph

# Settings of a scheduler that the engine reads; all others must be those of decoders.sampling.SOLVERS.
_READ = ("num_train_timesteps", "flow_shift", "shift")


def export_onnx(
    source: str,
    folder: Path,
    decoder: str | None = None,
    autoencoder: str | None = None,
    weights: str = "float16",
) -> dict[str, Any]:
    """Write the networks as ONNX files, with a manifest.

    Args:
        source: of the model, as of ``load_model``.
        folder: new or empty; written completely or not at all.
        decoder: as of ``load_decoder``; None is the model's own, if it has one.
        autoencoder: a folder or bundled name of a masked autoencoder of pictures of the same size; None is none.
        weights: one of ``ijepa_viz.page.onnx_files.WEIGHTS``.

    Returns:
        The manifest.

    Raises:
        FileExistsError: a folder that is not empty. FileNotFoundError, ValueError: as ``load_model`` and
        ``load_decoder``; a decoder of another model; a solver or a network that the page does not know.
        RuntimeError: a model without a predictor, or onnx is missing.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a new folder.")
    from decoders.loading import load_decoder
    from ijepa_viz.checkpoints import load_model
    from ijepa_viz.page.models_folder import write_models
    from ijepa_viz.page.onnx_files import import_onnx
    from ijepa_viz.page.onnx_graphs import model_graphs
    from ijepa_viz.prediction import check_pair
    from ijepa_viz.runtime.progress import Progress

    import_onnx()
    with Progress(f"loading {source}"):
        model = load_model(source).eval()
        graphs = model_graphs(model)
        own = decoder or _own_decoder(source)
        loaded = load_decoder(own) if own else None
    entry = None
    if loaded:
        check_pair(model, loaded)
        entry = decoder_entry(loaded)
        graphs += decoder_graphs(loaded)
    if autoencoder:
        graphs.append(_autoencoder_graph(autoencoder, model))
    autoencoder = autoencoder and shown_name(autoencoder)
    return write_models(folder, shown_name(source), model, graphs, weights, entry, autoencoder)


def shown_name(source: str) -> str:
    """A source without the folders above it, which a published page should not tell."""
    return Path(source).resolve().name if Path(source).exists() else str(source)


def _own_decoder(source: str) -> str | Path | None:
    try:
        return decoder_of(source)
    except FileNotFoundError:
        print(f"{source} has no decoder: the page will predict tokens and draw no samples (--decoder adds one).")
        return None


def default_autoencoder(source: str) -> str | None:
    """The bundled masked autoencoder that belongs to a bundled model, such as ``menagerie-tiny-mae``."""
    from ijepa_viz.checkpoints import bundled_names

    name = f"{source}-mae"
    return name if name in bundled_names() else None


def solver_entry(scheduler: Any) -> dict[str, Any]:
    """A scheduler's settings, for the engine's own samplers.

    Raises:
        ValueError: a scheduler that the engine does not know; the message names the settings.
    """
    from decoders.sampling import SOLVERS, draws_fresh_noise

    names = ("euler", "dpm++", "sde-dpm++")
    for name in names:
        known = SOLVERS[name]()
        if type(scheduler) is not type(known) or draws_fresh_noise(scheduler) != draws_fresh_noise(known):
            continue
        own, reference = dict(scheduler.config), dict(known.config)
        other = [k for k in reference if k not in _READ and not k.startswith("_") and own.get(k) != reference[k]]
        if other:
            changed = ", ".join(f"{key}={own.get(key)!r}" for key in other)
            raise ValueError(f"The page does not know the solver {name!r} with {changed}.")
        shift = float(own["shift"] if name == "euler" else own["flow_shift"])
        return {"name": name, "largest": 1.0 if name == "euler" else 1 - 1 / own["num_train_timesteps"], "shift": shift}
    raise ValueError(f"The page has the solvers {', '.join(names)}, and this decoder's is {type(scheduler).__name__}.")


def decoder_entry(decoder: Decoder) -> dict[str, Any]:
    """The manifest's entry of a decoder: how ``decoder.sample`` draws by default."""
    from decoders.networks.network import Conditioning, TokenSource
    from ijepa_viz.page.models_folder import decoder_fingerprints

    network, tokens = decoder.network, decoder.pipeline.token_network
    patch = network.config.patch_size
    entry: dict[str, Any] = {
        "weights_sha256": decoder_fingerprints(decoder),
        "pixels": patch,
        "size": [side * patch for side in network.grid],
        "channels": network.channels,
        "steps": decoder.config.steps,
        "token_steps": decoder.config.token_steps if tokens is not None else 0,
        "detail": decoder.config.detail,
        "guidance": 1.0,
        "stochastic": network.stochastic,
        "solver": solver_entry(decoder.pipeline.scheduler),
        "conditioning": {member.name.lower(): int(member) for member in Conditioning},
        "sources": {member.name.lower(): int(member) for member in TokenSource},
    }
    if tokens is not None:
        mean, std = (t[TokenSource.TARGET].tolist() for t in (tokens.feature_mean, tokens.feature_std))
        entry |= {
            "token_channels": tokens.channels,
            "token_solver": solver_entry(decoder.pipeline.scheduler_of_tokens),
            "token_temperature": decoder.config.token_temperature,
            "token_statistics": {"mean": mean, "std": std},
        }
    return entry


def decoder_graphs(decoder: Decoder) -> list[Graph]:
    """Graphs ``denoise`` and, of two stages, ``denoise_tokens``."""
    tokens = decoder.pipeline.token_network
    graphs = [_step_graph("denoise", decoder.network)]
    return graphs if tokens is None else [*graphs, _step_graph("denoise_tokens", tokens)]


def _step_graph(name: str, network: BlockNetwork) -> Graph:
    from decoders.networks.denoising_step import STEP_INPUTS, DenoisingStep
    from ijepa_viz.page.onnx_graphs import Graph

    rows, cols = network.grid
    block = [r * cols + c for r in range(min(2, rows)) for c in range(min(3, cols))]
    scattered = sorted({0, min(cols + 1, rows * cols - 1), rows * cols - 1})  # a small grid has fewer
    return Graph(
        name,
        DenoisingStep(network),
        STEP_INPUTS,
        ("clean",),
        _step_arguments(network, 6, block),
        (_step_arguments(network, 1, [rows * cols - 1]), _step_arguments(network, 2, scattered)),
    )


def _step_arguments(network: BlockNetwork, samples: int, hole: list[int]) -> tuple[Any, ...]:
    """Random arguments of a denoising step: six samples have every conditioning and source, at levels from 1 down."""
    import torch

    generator = torch.Generator().manual_seed(samples)
    cols, shape = network.grid[1], (samples, len(hole))
    extents = [max(side) - min(side) + 1 for side in ([i // cols for i in hole], [i % cols for i in hole])]
    return (
        torch.randn(*shape, network.channels, generator=generator),
        torch.linspace(1, 0.001, samples),
        torch.tensor(hole).expand(shape).contiguous(),
        torch.randn(*shape, network.config.feature_width, generator=generator),
        2 - torch.arange(samples) % 3,
        torch.arange(samples) // 3 % 2,
        torch.zeros(*extents),
    )


def _autoencoder_graph(source: str, model: IJEPA) -> Graph:
    """Graph of a masked autoencoder, from the files that the objective ``mae`` writes."""
    from ijepa_viz.checkpoints import load_model
    from ijepa_viz.checkpoints.folders import OBJECTIVE, OBJECTIVE_WEIGHTS, folder_of
    from ijepa_viz.models import ModelConfig, Predictor
    from ijepa_viz.page.onnx_graphs import reconstruction_graph
    from ijepa_viz.runtime import config_files
    from ijepa_viz.runtime.files import read_json
    from ijepa_viz.runtime.tensors import read_into

    folder = folder_of(source)
    encoder = load_model(source).eval()
    card = read_json(folder / OBJECTIVE) if (folder / OBJECTIVE).is_file() else {}
    objective = card.get("objective", {})
    if objective.get("name") != "mae":
        raise ValueError(f"{source} is no masked autoencoder (objective mae): name one, or leave --autoencoder out.")
    if encoder.config.height_and_width != model.config.height_and_width or encoder.grid != model.grid:
        raise ValueError(f"{source} reads pictures of another size or grid than the model: take another autoencoder.")
    config = config_files.build(ModelConfig, card["model"], str(folder / OBJECTIVE))
    decoder = Predictor(config, output=3 * config.patch_size**2).eval()
    read_into(decoder, folder / OBJECTIVE_WEIGHTS, str(card.get("weights_sha256", "")))
    normalised = bool(objective.get("options", {}).get("normalise_pixels", True))  # the objective's own default
    return reconstruction_graph(encoder.encoder, decoder, normalised)
