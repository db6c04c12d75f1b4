"""``python -m train --fname CONFIG.yaml [KEY=VALUE ...] [--max-minutes M] [--resume]``."""

from __future__ import annotations

import sys

from ijepa_viz.training_cli import run_training


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    from train.config import TrainConfig

    def build(config: TrainConfig, resume: bool):  # type: ignore[no-untyped-def]
        from train.trainer import Trainer  # late: a typo in the config need not wait for torch

        return Trainer(config, resume)

    return run_training("train", "Pretrain an I-JEPA.", TrainConfig, build, arguments)


if __name__ == "__main__":
    sys.exit(main())
