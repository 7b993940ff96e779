"""Presets say what the project's source text says, and the lock keeps what it promises."""

import math

import pytest
from annotated_types import Le

from qlora_ui.config import Lora, TrainConfig
from qlora_ui.presets import PRESETS, active, named_by_seed, strength
from qlora_ui.texts import LANGUAGES, catalog
from qlora_ui.ui.lock import MOST_ALPHA, alpha_that_keeps, held_strength


def test_the_source_texts_numbers() -> None:
    assert (PRESETS["general"].r, PRESETS["general"].lora_alpha) == ((1, 2, 4, 8), (16, 32))
    assert (PRESETS["complex"].r, PRESETS["complex"].lora_alpha) == ((8, 16, 32), (32, 64))
    assert PRESETS["seed-example"].lora == Lora(r=4, lora_alpha=32, lora_dropout=0.1)
    assert [(p.lora.r, p.lora.lora_alpha) for p in PRESETS.values()] == [(8, 16), (16, 32), (4, 32)]


def test_each_preset_has_its_words() -> None:
    for language in LANGUAGES:
        for name in PRESETS:
            assert {f"preset.{name}.{part}" for part in ("label", "reason", "source")} <= set(
                catalog(language)
            )


def test_the_pressed_preset_is_on_while_its_recommendation_is_followed() -> None:
    shared = Lora(r=8, lora_alpha=32)  # both sets name it
    assert active("general", shared) == "general"
    assert active("complex", shared) == "complex"
    assert active("", shared) == "general"
    assert active("general", Lora(r=32, lora_alpha=64)) == "complex"
    assert active("general", Lora(r=64, lora_alpha=64)) == ""
    assert active("nonsense", Lora(r=3, lora_alpha=16)) == ""
    example = PRESETS["seed-example"].lora
    assert active("seed-example", example) == "seed-example"
    assert active("seed-example", example.model_copy(update={"lora_dropout": 0.0})) == "general"


@pytest.mark.parametrize(
    ("r", "alpha", "word"),
    [
        (64, 16, "faint"),
        (32, 16, "gentle"),  # ×0.5 is still inside
        (16, 16, "usual"),
        (8, 16, "usual"),
        (8, 64, "strong"),  # ×8 is still inside
        (1, 16, "named"),
        (1, 32, "named"),
        (2, 64, "extreme"),
        (3, 32, "extreme"),
    ],
)
def test_strength_in_words(r: int, alpha: int, word: str) -> None:
    assert strength(TrainConfig(lora=Lora(r=r, lora_alpha=alpha))) == word


def test_no_pair_of_the_source_text_is_warned_of() -> None:
    pairs = [(r, alpha) for preset in PRESETS.values() for r in preset.r for alpha in preset.lora_alpha]
    for r, alpha in pairs:
        assert named_by_seed(r, alpha)
        assert strength(TrainConfig(lora=Lora(r=r, lora_alpha=alpha))) not in ("faint", "extreme")
    assert not named_by_seed(16, 16)
    other = Lora(r=8, lora_alpha=64, use_rslora=True)  # ×22.6, and not what the text means by this pair
    assert strength(TrainConfig(lora=other)) == "extreme"


@pytest.mark.parametrize("use_rslora", [False, True])
def test_lock_keeps_the_strength(use_rslora: bool) -> None:
    held = held_strength(True, 8, 16, use_rslora)
    for r in (1, 2, 3, 8, 12, 64, 256):
        alpha = alpha_that_keeps(held, r, use_rslora)
        assert alpha is not None
        scale = TrainConfig(lora=Lora(r=r, lora_alpha=alpha, use_rslora=use_rslora)).scale
        assert math.isclose(scale, held, rel_tol=0.5 / alpha)  # alpha is whole


def test_lock_holds_nothing_without_numbers() -> None:
    assert held_strength(False, 8, 16, False) == 0
    assert held_strength(True, "eight", 16, False) == 0
    assert held_strength(True, 0, 16, False) == 0
    assert held_strength(True, None, None, False) == 0
    assert alpha_that_keeps(0, 8, False) is None
    assert alpha_that_keeps(2, "x", False) is None


def test_locked_alpha_stays_within_its_bounds() -> None:
    assert alpha_that_keeps(32, 1024, False) == MOST_ALPHA
    assert alpha_that_keeps(0.01, 1, False) == 1
    (most,) = [rule.le for rule in Lora.model_fields["lora_alpha"].metadata if isinstance(rule, Le)]
    assert most == MOST_ALPHA
