"""Pretraining of I-JEPA and of its baselines: ``python -m train --fname train/configs/menagerie-tiny.yaml``."""
