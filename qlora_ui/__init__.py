"""QLoRA UI: fine-tune a language model with QLoRA from a web page. See docs/architecture.md."""

__version__ = "0.1.0"
