"""Decoder configs with the keys of 0.1.0."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from decoders.config import DecoderTrainConfig
from ijepa_viz.runtime import config_files

OLD = Path(__file__).parent / "saved_by_0_1_0" / "configs" / "decoders" / "every-key.yaml"
RENAMED = {"level": "logit_mean", "uniform": "uniform_fraction", "pure": "pure_noise_fraction"}


def with_new_keys() -> dict:
    data = yaml.safe_load(OLD.read_text())
    data["conditioning"] = data.pop("condition")
    for old, new in RENAMED.items():
        data["optimization"][new] = data["optimization"].pop(old)
    return data


def test_old_and_new_keys_give_equal_configs(tmp_path):
    new = tmp_path / "new.yaml"
    new.write_text(yaml.safe_dump(with_new_keys(), sort_keys=False))
    config = config_files.load(DecoderTrainConfig, new)
    assert config == config_files.load(DecoderTrainConfig, OLD)
    assert (config.conditioning.pooled, config.optimization.logit_mean) == (0.3, 0.4)
    assert (config.optimization.uniform_fraction, config.optimization.pure_noise_fraction) == (0.3, 0.1)
    assert config_files.dump(config) == config_files.dump(config_files.load(DecoderTrainConfig, OLD))


def test_overrides_take_both_names():
    values = ["optimization.{}=0.7", "optimization.{}=0.6", "optimization.{}=0.2"]
    old, new = (
        config_files.load(DecoderTrainConfig, OLD, [v.format(n) for v, n in zip(values, names, strict=True)])
        for names in (RENAMED.keys(), RENAMED.values())
    )
    assert old == new
    assert new.optimization.logit_mean == 0.7
    assert config_files.override(new, ["condition.pooled=0.5"]).conditioning.pooled == 0.5


@pytest.mark.parametrize(
    ("section", "old", "value", "new"),
    [("optimization", "level", 0.4, "logit_mean"), (None, "condition", {"pooled": 0.3}, "conditioning")],
)
def test_a_key_under_both_names_is_an_error(tmp_path, section, old, value, new):
    data = with_new_keys()
    (data[section] if section else data)[old] = value
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(ValueError, match=f"'{old}' is the old name of '{new}'"):
        config_files.load(DecoderTrainConfig, tmp_path / "both.yaml")


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ValueError, match="'logit_mean'"):
        config_files.load(DecoderTrainConfig, OLD, ["optimization.logit_men=0.1"])
    with pytest.raises(ValueError, match="'conditioning'"):
        config_files.load(DecoderTrainConfig, OLD, ["conditionin.pooled=0.1"])
