"""TrainConfig: every setting of a job, with its bounds, default, unit and where the default comes from.

A section is named after the object that takes it as keyword arguments, with that library's own names:
`LoraConfig(**config.lora)`, `BitsAndBytesConfig(**config.quantization)`,
`TrainingArguments(**config.trainer)`.
A person's label and help for a field are in `texts/` under `field.<section>.<name>.{label,help}`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

FormatName = Literal["auto", "alpaca", "messages", "sharegpt", "prompt_completion", "text"]
HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")
VERSION: Final = 2
# From each released version to the next. 1 → 2: fields were added, with defaults.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: lambda values: values}
LORA_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def setting(default: Any, source: str, unit: str = "", **bounds: Any) -> Any:
    """A field: its default, where that default comes from, its unit, and pydantic's own bounds."""
    return Field(default=default, json_schema_extra={"source": source, "unit": unit}, **bounds)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(Section):
    """The model that learns: the demo model, a model of the Hub, or a folder of this server."""

    source: Literal["demo", "hub", "folder"] = setting("demo", "works with no hub, no GPU and no account")
    name_or_path: str = setting("SmolLM2-135M-Instruct", "the demo model", max_length=4096)
    revision: str = setting("main", "huggingface_hub", max_length=100)

    @model_validator(mode="after")
    def _names_a_model(self) -> Self:
        if self.source == "hub" and not HUB_ID.fullmatch(self.name_or_path):
            raise PydanticCustomError("hub_id", "not a Hub id", {"value": self.name_or_path})
        if self.source == "folder" and not Path(self.name_or_path).is_absolute():
            raise PydanticCustomError("absolute_path", "not an absolute path", {"value": self.name_or_path})
        return self


class Dataset(Section):
    """The rows it learns from. `path`: a local file or a Hub id; `name`: what the person called it."""

    source: Literal["demo", "file", "hub"] = setting("demo", "shows its effect at once")
    path: str = setting("", "the demo data has none", max_length=4096)
    name: str = setting("", "the upload's own name", max_length=255)
    format: FormatName = setting("auto", "found from the rows")
    subset: str = setting("", "the Hub's default subset", max_length=100)
    split: str = setting("train", "datasets", max_length=100)
    eval_share: float = setting(0.05, "enough rows to see overfitting, few lost to training", ge=0, le=0.5)

    @model_validator(mode="after")
    def _names_rows(self) -> Self:
        if self.source == "hub" and not HUB_ID.fullmatch(self.path):
            raise PydanticCustomError("hub_id", "not a Hub id", {"value": self.path})
        if self.source == "file" and not Path(self.path).is_absolute():
            raise PydanticCustomError("absolute_path", "not an absolute path", {"value": self.path})
        return self


class Quantization(Section):
    """→ `transformers.BitsAndBytesConfig`. The compute dtype follows the hardware and is not a setting."""

    load_in_4bit: Literal[True] = setting(True, "QLoRA, arXiv 2305.14314")
    bnb_4bit_quant_type: Literal["nf4"] = setting("nf4", "QLoRA, section 3")
    bnb_4bit_use_double_quant: bool = setting(True, "QLoRA, section 3")


class Lora(Section):
    """→ `peft.LoraConfig`."""

    r: int = setting(8, "the project's source text, general tasks: 1, 2, 4, 8", ge=1, le=1024)
    lora_alpha: int = setting(16, "the project's source text, general tasks: 16, 32", ge=1, le=2048)
    lora_dropout: float = setting(0.0, "PEFT; QLoRA used 0.1 up to 13B and 0.05 above", ge=0, le=0.9)
    target_modules: Literal["all-linear"] | list[str] = setting(
        "all-linear", "QLoRA, section 4: adapters on all linear layers match full fine-tuning", min_length=1
    )
    use_rslora: bool = setting(False, "PEFT; rsLoRA, arXiv 2312.03732")


class Trainer(Section):
    """→ `transformers.TrainingArguments`."""

    num_train_epochs: float = setting(3.0, "transformers, Stanford Alpaca", "epochs", gt=0, le=1000)
    max_steps: int = setting(-1, "transformers; -1: by epochs", "steps", ge=-1, le=10_000_000)
    learning_rate: float = setting(2e-4, "QLoRA, table 9; TRL: 10× full fine-tuning", gt=0, le=1)
    warmup_steps: float = setting(0.03, "QLoRA, appendix B; below 1: share of all steps", ge=0, le=100_000)
    lr_scheduler_type: Literal["linear", "cosine", "constant_with_warmup", "constant"] = setting(
        "linear", "transformers"
    )
    weight_decay: float = setting(0.0, "transformers", ge=0, le=1)
    max_grad_norm: float = setting(0.3, "QLoRA, appendix B", ge=0, le=100)
    per_device_train_batch_size: int = setting(1, "one bin needs the least memory", "bins", ge=1, le=1024)
    eval_steps: float = setting(0.1, "ten points on the held-out curve; below 1: share of all steps", gt=0)
    activation_checkpointing: bool | None = setting(
        None, "none: on a GPU yes, on a CPU, which is short of time and not of memory, no"
    )
    logging_steps: int = setting(1, "every step is on the curve", "steps", ge=1, le=10_000)
    seed: int = setting(42, "transformers", ge=0, le=2**32 - 1)

    @field_validator("warmup_steps", "eval_steps")
    @classmethod
    def _share_or_steps(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise PydanticCustomError("share_or_steps", "neither a share nor a number of steps")
        return value

    @model_validator(mode="after")
    def _at_least_a_step(self) -> Self:
        if self.max_steps == 0:
            raise PydanticCustomError("no_steps", "max_steps is 0")
        return self


class Keep(Section):
    """What a job keeps while it runs, and when it helps itself."""

    checkpoint_minutes: float = setting(
        10, "at most so much work is lost to a power cut", "minutes", gt=0, le=1440
    )
    early_stopping_patience: int = setting(
        3, "transformers.EarlyStoppingCallback; 0: never ends early", "evaluations", ge=0, le=1000
    )
    smaller_micro_batch: bool = setting(True, "out of memory: half the micro-batch, the same steps")


class Batch(Section):
    """How rows become steps: counted in rows, whatever the packing makes of them."""

    rows_per_step: int = setting(16, "QLoRA, table 9", "rows", ge=1, le=4096)
    max_length: int = setting(1024, "TRL", "tokens", ge=16, le=1_048_576)


class TrainConfig(Section):
    """All that a person chose for one job; goes to the worker as `config.json` and never changes."""

    version: Literal[2] = VERSION
    name: str = Field(default="", max_length=120)
    parent: str = Field(default="", pattern=r"^([0-9a-f]{10})?$")  # job whose adapter it goes on from
    model: Model = Model()
    dataset: Dataset = Dataset()
    quantization: Quantization = Quantization()
    lora: Lora = Lora()
    trainer: Trainer = Trainer()
    batch: Batch = Batch()
    keep: Keep = Keep()

    @model_validator(mode="before")
    @classmethod
    def _migrate(cls, values: Any) -> Any:
        """Configs of every released version still open."""
        if isinstance(values, dict):
            version = values.get("version", VERSION)
            while isinstance(version, int) and version in MIGRATIONS:
                values = {**MIGRATIONS[version](values), "version": version + 1}
                version += 1
        return values

    def overridden(self, overrides: dict[str, Any]) -> Self:
        """This config with some fields of its sections changed: `{"trainer.seed": 1}`. Raises
        pydantic.ValidationError for values that a config would not take."""
        values = self.model_dump()
        for name, value in overrides.items():
            section, _, field = name.partition(".")
            values[section][field] = value
        return type(self).model_validate(values)

    @property
    def scale(self) -> float:
        """What the adapter's output is multiplied by: alpha/r, or alpha/√r with rsLoRA."""
        return self.lora.lora_alpha / (self.lora.r**0.5 if self.lora.use_rslora else self.lora.r)
