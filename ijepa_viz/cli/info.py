"""``ijepa-viz info``: sizes and model card of a model."""

from __future__ import annotations

import argparse

from ijepa_viz.cli.command import COMMANDS, Command, import_libraries


def _info(options: argparse.Namespace) -> int:
    import_libraries()
    from ijepa_viz import checkpoints
    from ijepa_viz.data.picture_size import in_words
    from ijepa_viz.runtime.progress import Progress

    with Progress(f"loading {options.model}"):
        model = checkpoints.load_model(options.model)
    config = model.config
    rows, cols = model.grid
    print(
        f"{options.model}: images {in_words(config.image_size)} px, patches {config.patch_size} px, grid {rows}x{cols}"
    )
    print(f"encoder: width {config.width}, depth {config.depth}, {config.heads} heads, {_count(model.encoder)}")
    if model.predictor is None:
        print("predictor: none (an encoder-only checkpoint)")
    else:
        print(
            f"predictor: width {config.predictor_width}, depth {config.predictor_depth}, "
            f"{config.predictor_heads} heads, {_count(model.predictor)}"
        )
    if options.model in checkpoints.bundled_names():
        print()
        print((checkpoints.find_bundled(options.model) / checkpoints.CARD).read_text(encoding="utf-8"))
    return 0


def _count(module) -> str:  # type: ignore[no-untyped-def]  # torch is imported late
    total = sum(p.numel() for p in module.parameters())
    return f"{total / 1e6:.2f} M parameters"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a bundled or published name, a folder, or a checkpoint")


COMMANDS.register("info")(Command("sizes and model card of a model", _arguments, _info))
