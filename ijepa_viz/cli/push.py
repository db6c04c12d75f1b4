"""``ijepa-viz push``: a model and its decoder on the Hugging Face hub, with a model card."""

from __future__ import annotations

import argparse

from ijepa_viz.cli.command import COMMANDS, Command, import_libraries


def _push(options: argparse.Namespace) -> int:
    import_libraries()
    from ijepa_viz.checkpoints import push_to_hub
    from ijepa_viz.runtime.progress import Progress

    with Progress(f"sending {options.folder} to {options.name}"):
        address = push_to_hub(options.folder, options.name, options.private or None, options.license)
    print(address)
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="a model folder, best of ijepa-viz export, with its decoder")
    parser.add_argument("name", metavar="OWNER/NAME", help="name on the hub; made where it is missing")
    parser.add_argument("--private", action="store_true", help="a new one is seen by its owner only")
    parser.add_argument("--license", metavar="LICENSE", help="of the weights, in the hub's words, such as cc-by-4.0")


COMMANDS.register("push")(Command("send a model and its decoder to the Hugging Face hub", _arguments, _push))
