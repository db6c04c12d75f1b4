"""Configuration of a decoder's training: one dataclass a concern, filled from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from decoders.networks.network import ConditioningShares
from ijepa_viz.runtime.run_folder import RunConfig


@dataclass(frozen=True)
class NetworkConfig:
    """A name in ``decoders.networks.NETWORKS``, and options of its class: for ``block-vit`` width, depth, heads."""

    name: str = "block-vit"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataConfig:
    """Training images.

    Attributes:
        source: any string ``open_source`` takes; the images the I-JEPA was trained on or others.
        crop_scale, horizontal_flip: of the random crops.
        cues: where the I-JEPA takes cues and the data set has sentences, the share of the images or films that are
            predicted with one.
        patch_size: of the decoded pixels; None is the I-JEPA's own. With 8, an I-JEPA of 16x16 patches of 14 px is
            decoded at 128 px; with 16, one of 8x8 patches of 8 px as well. The data set's pictures are read at that
            resolution beside the I-JEPA's own, and drawn scenes are drawn at it.
        keep: True holds all images as squares in one array, False decodes and crops them at full size as needed;
            None is True below 24 GiB. workers: threads that decode; None is one a core.
        cached_batches: 0 runs the I-JEPA in every step. n > 0 caches the features of the first n batches on disk, in
            half precision, and cycles through them: for large I-JEPAs, whose forward passes dominate the time.
        cache_folder: of these features, for several runs with the same I-JEPA, data and holes; None is the run's own.
    """

    source: str = "menagerie"
    crop_scale: tuple[float, float] = (0.5, 1.0)
    horizontal_flip: bool = True
    cues: float = 0.5
    patch_size: int | None = None
    keep: bool | None = None
    workers: int | None = None
    cached_batches: int = 0
    cache_folder: str | None = None


@dataclass(frozen=True)
class HoleConfig:
    """Hidden blocks in training.

    Attributes:
        targets: holes an image; of films one. scale: their share of its area. aspect: height / width.
        future: of films, share of the batches whose holes are whole frames: the next steps after a context of a quarter
            to half of them, up to half of them. The other batches have the same hole in all frames, of ``scale``.
        window: of films whose holes are all whole frames, rows and columns of the square that each hole is cut down to
            in training, drawn evenly between the two, around a patch that is drawn by how wrong the prediction is
            there: most of a frame is ground that stands still. (0, 0) leaves the holes whole.
        focus: share of the images that are, of :data:`decoders.training.batches.TRIES` drawn, the one with the most
            contrast in its holes: most holes hide sky or ground, from which little is to be learned. What is drawn then
            leans to contrast, too, where the prediction leaves that open; below 1 it does so less.
    """

    targets: int = 2
    scale: tuple[float, float] = (0.1, 0.3)
    aspect: tuple[float, float] = (0.5, 2.0)
    focus: float = 0.0
    future: float = 0.7
    window: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class OptimizationConfig:
    """AdamW with warm-up and cosine decay to zero over ``steps``, and an EMA of the weights.

    A closed-form decoder accumulates ``steps`` batches and is then solved; it uses no other field but the batch size.

    Attributes:
        min_sigma: noise level below which the loss's weight 1 / sigma^2 no longer grows.
        logit_mean: of the logit-normal distribution of noise levels (SD3, arXiv 2403.03206, section 3.1), with
            standard deviation 1; more noise above 0.
        uniform_fraction: share of blocks whose noise level is uniform in (0, 1) instead.
        pure_noise_fraction: share of blocks whose noise level is 1, where sampling starts and the logit-normal
            distribution has no mass.
    """

    steps: int = 3000
    batch_size: int = 64
    lr: float = 6e-4
    warmup: int = 100
    weight_decay: float = 0.01
    ema: float = 0.998
    clip_grad: float = 1.0
    min_sigma: float = 0.05
    logit_mean: float = 0.0
    uniform_fraction: float = 0.2
    pure_noise_fraction: float = 0.05

    # As 0.1.0 wrote them.
    RENAMED: ClassVar[dict[str, str]] = {
        "level": "logit_mean",
        "uniform": "uniform_fraction",
        "pure": "pure_noise_fraction",
    }


@dataclass(frozen=True)
class SamplingConfig:
    """How the saved decoder samples by default, as tested with it; None is the general default.

    Attributes:
        steps: evaluations of the network that draws pixels. The metric ``drawing-steps`` compares them.
        token_steps: of two stages, of the token network.
        token_solver: of two stages, a name in ``decoders.sampling.SOLVERS``; "sde-dpm++" draws fresh noise in every
            step. None is that of the drawing, or what ``token_decoder`` has. The metric ``token-solver`` compares them.
        token_temperature: of two stages, scale of the tokens' noise; calibrates the spread of the samples.
        detail: noise level, 0 to 1, at which sampling ends with the expected picture.
    """

    steps: int | None = None
    token_steps: int | None = None
    token_solver: str | None = None
    token_temperature: float | None = None
    detail: float | None = None


@dataclass(frozen=True)
class DecoderTrainConfig:
    """Training of one decoder.

    Attributes:
        ijepa: any string ``load_model`` takes.
        pixel_decoder: any string ``load_decoder`` takes, for a network that draws tokens (``token-vit``): the decoder
            of the same I-JEPA that draws what it samples. Both are saved, as one decoder of two stages. Or of a
            bundled model with the same target encoder, which is then named and not saved again: where the predictor
            alone was trained, and for films whose steps are encoded separately, which it draws step by step.
        token_decoder: any string ``load_decoder`` takes, for a network that draws pixels: a decoder of two stages, of
            the same I-JEPA, whose token network is kept. Both are saved, as one decoder of two stages;
            ``conditioning.resampled`` trains the network on tokens that resemble sampled ones.
        start_from: any string ``load_decoder`` takes: initial weights, of a decoder of this or another I-JEPA, with a
            new schedule and optimizer. None is a random initialisation. (``--resume`` continues an interrupted run.)
    """

    ijepa: str = "menagerie-tiny"
    pixel_decoder: str | None = None
    token_decoder: str | None = None
    start_from: str | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    hole: HoleConfig = field(default_factory=HoleConfig)
    conditioning: ConditioningShares = field(default_factory=ConditioningShares)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    run: RunConfig = field(default_factory=RunConfig)

    RENAMED: ClassVar[dict[str, str]] = {"condition": "conditioning"}  # as 0.1.0 wrote it
