"""``python -m decoders --fname CONFIG.yaml [KEY=VALUE ...] [--devices cuda:0 cuda:1] [--resume] ...``."""

from __future__ import annotations

from ijepa_viz.runtime.command_line import leave, run_training


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    from decoders.config import DecoderTrainConfig

    def build(config: DecoderTrainConfig, resume: bool):  # type: ignore[no-untyped-def]
        from decoders.training.trainer import DecoderTrainer  # late: a typo in the config need not wait for torch

        return DecoderTrainer(config, resume)

    return run_training("decoders", "Train a decoder on a frozen I-JEPA.", DecoderTrainConfig, build, arguments)


if __name__ == "__main__":
    leave(main())
