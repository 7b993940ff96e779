"""Named starting points for r and lora_alpha, and where each number comes from.

They say what the article says that this project was started from (in Chinese, 2024): general tasks
r 1, 2, 4, 8 with alpha 16 or 32; complex tasks or a distant domain r 8, 16, 32 with alpha 32 or 64; and its
example. Their reasons in words are in `texts/` under `preset.<name>.{label,reason,source}`.
"""

from dataclasses import dataclass, field

from qlora_ui.config import Batch, Lora, TrainConfig, Trainer


@dataclass(frozen=True, slots=True)
class Preset:
    """A starting point: its `lora` values, and every value of r and alpha its source recommends."""

    name: str
    lora: Lora
    r: tuple[int, ...]
    lora_alpha: tuple[int, ...]
    source: str
    chips: bool = field(default=True)  # False: one fixed example, no set to choose from


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "general",
            Lora(r=8, lora_alpha=16),
            r=(1, 2, 4, 8),
            lora_alpha=(16, 32),
            source="一般任务: r 1, 2, 4, 8; lora_alpha 16, 32",
        ),
        Preset(
            "complex",
            Lora(r=16, lora_alpha=32),
            r=(8, 16, 32),
            lora_alpha=(32, 64),
            source="复杂任务或领域差距较大的任务: r 8, 16, 32; lora_alpha 32, 64",
        ),
        # The example also says merge_weights=False, an argument PEFT has no longer: the adapter stays a
        # folder of its own, which is what a job makes in any case.
        Preset(
            "seed-example",
            Lora(r=4, lora_alpha=32, lora_dropout=0.1),
            r=(4,),
            lora_alpha=(32,),
            source="示例配置: LoraConfig(r=4, lora_alpha=32, lora_dropout=0.1, merge_weights=False)",
            chips=False,
        ),
    )
}


def named_by_seed(r: int, lora_alpha: int) -> bool:
    """Whether the source text recommends this pair: such a pair is explained, never warned of."""
    return any(r in preset.r and lora_alpha in preset.lora_alpha for preset in PRESETS.values())


def demo_config() -> TrainConfig:
    """The job of an untouched form: demo model, demo data, the general preset."""
    return TrainConfig(lora=PRESETS["general"].lora, batch=Batch(max_length=512))


def short_demo_config() -> TrainConfig:
    """The job of `make demo`, which somebody waits for: two passes instead of three, in as many steps."""
    short = {"trainer": Trainer(num_train_epochs=2), "batch": Batch(max_length=512, rows_per_step=8)}
    return demo_config().model_copy(update=short)


def active(pressed: str, lora: Lora) -> str:
    """The preset whose recommendation these values follow, the pressed one first; "" for one's own."""
    names = [pressed, *PRESETS] if pressed in PRESETS else list(PRESETS)
    return next((name for name in names if _follows(lora, PRESETS[name])), "")


def _follows(lora: Lora, preset: Preset) -> bool:
    if not preset.chips:
        return lora == preset.lora
    return lora.r in preset.r and lora.lora_alpha in preset.lora_alpha


def strength(config: TrainConfig) -> str:
    """How loud the adapter is, as a word: faint, gentle, usual, strong or extreme. Rules of thumb: 1 to 2 is
    what papers and libraries start from, outside 0.5 to 8 training tends to stall or to run away; a pair
    that the source text names is `named` where it would be extreme."""
    scale = config.scale
    if scale > 8:
        pair = named_by_seed(config.lora.r, config.lora.lora_alpha) and not config.lora.use_rslora
        return "named" if pair else "extreme"
    if scale < 1:
        return "faint" if scale < 0.5 else "gentle"
    return "usual" if scale <= 2 else "strong"
