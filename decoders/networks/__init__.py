"""Decoder networks, one file each."""

from decoders.networks.network import NETWORKS, BlockNetwork, build_network, name_of, read_network
from ijepa_viz.registry import import_files

import_files(__name__)  # a network's file registers itself

__all__ = ["NETWORKS", "BlockNetwork", "build_network", "name_of", "read_network"]
