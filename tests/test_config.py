"""Configs of every released version open; overrides change fields and are checked."""

import pytest
from pydantic import ValidationError

from qlora_ui.config import VERSION, TrainConfig

RELEASED = {
    1: {"version": 1, "name": "old", "lora": {"r": 4}, "trainer": {"seed": 7}},
    2: {"version": 2, "name": "old", "lora": {"r": 4}, "trainer": {"seed": 7}, "keep": {}, "parent": ""},
}


def test_a_config_of_every_released_version_opens() -> None:
    assert max(RELEASED) == VERSION
    for values in RELEASED.values():
        config = TrainConfig.model_validate(values)
        assert (config.version, config.name, config.lora.r, config.trainer.seed) == (VERSION, "old", 4, 7)


@pytest.mark.parametrize("version", [0, VERSION + 1, "1", [1], None, 10**30])
def test_no_other_version_opens(version: object) -> None:
    with pytest.raises(ValidationError):
        TrainConfig.model_validate({"version": version})


def test_an_override_changes_its_field_only_and_is_checked() -> None:
    config = TrainConfig()
    changed = config.overridden({"lora.r": 2})
    assert changed.lora.r == 2 and changed.overridden({"lora.r": config.lora.r}) == config
    with pytest.raises(ValidationError):
        config.overridden({"lora.r": 0})
