"""A section of the config passes through as keyword arguments: its names are the libraries' own."""

import inspect

import pytest
from peft import LoraConfig
from pydantic import BaseModel
from transformers import BitsAndBytesConfig, TrainingArguments

from qlora_ui.config import Lora, Quantization, Trainer
from qlora_ui.training.train import QUIET


@pytest.mark.parametrize(
    ("section", "library"),
    [(Lora, LoraConfig), (Quantization, BitsAndBytesConfig), (Trainer, TrainingArguments)],
)
def test_names_are_parameters_of_the_library(section: type[BaseModel], library: type) -> None:
    assert section.model_fields.keys() <= inspect.signature(library).parameters.keys()


def test_what_the_recipe_adds_is_known_and_no_persons_choice() -> None:
    assert QUIET.keys() <= inspect.signature(TrainingArguments).parameters.keys()
    assert not QUIET.keys() & Trainer.model_fields.keys()
