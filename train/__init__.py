"""Pretraining I-JEPA: ``python -m train --fname train/configs/menagerie-tiny.yaml``."""
