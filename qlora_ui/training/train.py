"""The recipe: QLoRA fine-tuning of one model on one data set, told in order."""

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedTokenizerBase, TrainingArguments, set_seed

from qlora_ui.config import TrainConfig
from qlora_ui.data.examples import Example, load, split
from qlora_ui.errors import UserError
from qlora_ui.events import Answer, Artifact
from qlora_ui.training import answers, base_model, dataset
from qlora_ui.training.attention import ALONE, choose
from qlora_ui.training.callbacks import EventCallback
from qlora_ui.training.failures import out_of_memory
from qlora_ui.training.hub_data import hub_rows
from qlora_ui.training.lora import fast_lora
from qlora_ui.training.loss import SummedLoss
from qlora_ui.training.model_files import model_folder
from qlora_ui.training.order import StepOrder
from qlora_ui.training.resuming import Beginning
from qlora_ui.training.saving import Checkpoints, save_adapter
from qlora_ui.training.templates import ensure_template
from qlora_ui.training.trainer import PackedTrainer
from qlora_ui.training.weights import start_from
from qlora_ui.training.worker import StopRequested, Worker

FROM_SCRATCH = Beginning()
ANSWERED = 7.0  # seconds after a Stop by which the answers must be there: all must end within 10


def train(config: TrainConfig, worker: Worker, begins: Beginning = FROM_SCRATCH) -> None:
    """Train an adapter, from where `begins` says, and leave it in the job's folder.

    Raises StopRequested when a person stops it (the adapter is saved if a step was done), UserError for what
    a person can mend, and whatever the libraries raise.
    """
    set_seed(config.trainer.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = pinned_dtype(begins) or base_model.kept_dtype(device, worker.home)

    # The rows, before the model: a fault in them is found before gigabytes are downloaded
    learned, held_out = read_examples(config, worker)

    # The base model's files and its tokenizer
    folder = model_folder(config.model, worker.home, worker.report, worker.stopping)
    tokenizer = base_model.load_tokenizer(folder)
    if ensure_template(tokenizer):
        worker.log("no_chat_template", level="warning")

    # Rows → tokens, with labels on the answers only
    train_rows = tokenise(learned, tokenizer, config.batch.max_length, worker)
    eval_rows = tokenise(held_out, tokenizer, config.batch.max_length, worker)
    if not train_rows:
        raise UserError("nothing_to_learn", rows=len(learned), max_length=config.batch.max_length)

    # The model: 4-bit base, frozen; LoRA adapters in float32 on its linear layers
    worker.report("loading_model")
    base = base_model.load_base(folder, config.quantization, device, dtype)
    attention = choose(base, dtype)
    worker.log("attention", name=attention)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **config.lora.model_dump()))
    if config.parent and begins.checkpoint is None:
        start_from_parent(model, config.parent, worker)
    worker.tell(base_model.environment(model, config.quantization, device, dtype))

    # Bins, and how many of them make a step
    filling = base_model.filling(tokenizer)
    bins = dataset.pack(train_rows, config.batch.max_length, filling, alone=attention == ALONE)
    eval_bins = dataset.pack(eval_rows, config.batch.max_length, filling, alone=attention == ALONE)
    per_step = dataset.bins_per_step(len(train_rows), len(bins), config.batch.rows_per_step)
    worker.log("packed", rows=len(train_rows), bins=len(bins), per_step=per_step)

    # Which bins make which step: from the seed alone, whatever fits into memory at once
    order = StepOrder(len(bins), per_step, config.trainer.per_device_train_batch_size, config.trainer.seed)
    worker.micro_batch = order.micro

    # Training, with checkpoints
    trainer = PackedTrainer(
        model=model,
        args=TrainingArguments(
            **{**for_device(device, dtype), **config.trainer.model_dump(exclude_none=True)},
            output_dir=str(worker.folder / "checkpoints"),
            gradient_accumulation_steps=order.per_update,
            per_device_eval_batch_size=order.micro,
            eval_strategy="steps" if eval_bins else "no",
            **QUIET,
        ),
        train_dataset=bins,
        eval_dataset=eval_bins or None,
        data_collator=dataset.collate,
        callbacks=[EventCallback(worker)],
        summed_loss=SummedLoss(model.get_base_model(), dtype),
        worker=worker,
        order=order,
        begins=begins,
        checkpoints=Checkpoints(worker, config, dtype),
        keep=config.keep,
    )
    with fast_lora(model):
        stopped = run(trainer, worker)

    # What is kept: the best of it, or, after a Stop, what is there now; and what it changed
    worker.report("saving")
    if not stopped:
        worker.step = trainer.load_best()
    size = save_adapter(model, tokenizer, config.model, folder, worker)
    worker.tell(Artifact("adapter", "adapter", size, worker.step))
    compare_answers(model, tokenizer, held_out or learned, worker)
    if stopped:
        raise StopRequested


def read_examples(config: TrainConfig, worker: Worker) -> tuple[list[Example], list[Example]]:
    """The rows to learn from and those held out, telling how many have no answer."""
    worker.report("reading_data")
    from_hub = config.dataset.source == "hub"
    rows = hub_rows(config.dataset, worker.report, worker.stopping) if from_hub else None
    skipped: list[int] = []
    examples = load(config.dataset, rows, skipped.append)
    if skipped:
        worker.log("rows_skipped", level="warning", rows=len(skipped), first=skipped[0])
    return split(examples, config.dataset.eval_share, config.trainer.seed)


def tokenise(
    examples: list[Example], tokenizer: PreTrainedTokenizerBase, max_length: int, worker: Worker
) -> list[dataset.TokenRow]:
    """Examples → token rows, telling how far it is and what was cut or left out."""
    result = dataset.tokenise(
        examples,
        tokenizer,
        max_length,
        lambda done: worker.report("reading_data", done, len(examples), "rows"),
    )
    if result.cut:
        worker.log("rows_cut", level="warning", rows=result.cut, max_length=max_length)
    if result.dropped:
        worker.log("rows_dropped", level="warning", rows=result.dropped)
    return result.rows


def pinned_dtype(begins: Beginning) -> torch.dtype | None:
    """That of the checkpoint: a CPU that is about as fast in two must not change between them."""
    if begins.checkpoint is None:
        return None
    dtype: torch.dtype = getattr(torch, begins.checkpoint.dtype)
    return dtype


def start_from_parent(model: Any, parent: str, worker: Worker) -> None:
    """The parent job's adapter becomes the model's; a fresh optimiser goes on from it."""
    start_from(model, worker.folder / "start")
    worker.log("parent", parent=parent)


def run(trainer: PackedTrainer, worker: Worker) -> bool:
    """Train to the end; whether a person stopped it on the way: then with a checkpoint of the last step.

    Raises StopRequested if not one step was done: then there is nothing to keep.
    """
    try:
        with worker.unstoppable():  # but between two micro-batches, where the trainer asks
            trainer.begin()
        return False
    except StopRequested:
        if worker.step == 0:
            worker.log("nothing_to_keep")
            raise
        worker.log("stopping", step=worker.step)
        worker.report("saving")
        trainer.save()
        return True


def compare_answers(
    model: Any, tokenizer: PreTrainedTokenizerBase, examples: list[Example], worker: Worker
) -> None:
    """Ask the model a few questions with and without its adapter.

    Both at the end: without its adapter the model is bit for bit what it was before training, and asking it
    then would hold up the first step.
    """
    asked = answers.questions(examples, tokenizer)
    seconds = ANSWERED - worker.stopped_for if worker.stopping() else None
    if not asked or (seconds is not None and seconds < 1):
        return
    try:
        texts = answers.answer(model, tokenizer, [prompt for _, prompt in asked], seconds)
    except Exception as error:
        if out_of_memory(error) is None:
            raise
        worker.log("answers_no_memory", level="warning")  # what was trained is safe: that's enough
        return
    for step, given in ((0, texts[: len(asked)]), (worker.step, texts[len(asked) :])):
        for (question, _), text in zip(asked, given, strict=True):
            worker.tell(Answer(step, question, text))


def for_device(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """TrainingArguments that follow from the hardware."""
    on_gpu = device.type == "cuda"
    return {
        "use_cpu": not on_gpu,
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
        "activation_checkpointing": on_gpu,  # a CPU is short of time, not of memory
        "activation_checkpointing_kwargs": {"use_reentrant": False},
        "dataloader_pin_memory": on_gpu,
    }


# The page shows what happens; the trainer keeps no files and hides no NaN.
QUIET: dict[str, Any] = {
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
    "logging_nan_inf_filter": False,
    "remove_unused_columns": False,
}
