"""One contender trains the demo model on the same rows, in a process of its own:
`python -m bench.contenders NAME FOLDER`. Writes FOLDER/NAME.json.

All share model, rows, 4-bit settings, LoRA settings, dtype, threads, rows per step, learning rate, and the
function that measures the held-out loss. What differs is what the name says.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from qlora_ui.training.__main__ import prepare_environment

prepare_environment()

import torch  # noqa: E402

from qlora_ui.config import Batch, Dataset, Lora, Model, Quantization, TrainConfig, Trainer  # noqa: E402
from qlora_ui.data.examples import Example  # noqa: E402
from qlora_ui.training import base_model  # noqa: E402
from qlora_ui.training.dataset import TokenRow, bins_per_step, pack, tokenise  # noqa: E402

LENGTH = 512
ROWS_PER_STEP = 8  # TRL's per_device_train_batch_size as shipped
CPU = torch.device("cpu")
LORA = Lora(r=8, lora_alpha=16, lora_dropout=0.0)
RATE = 2e-4


def ours(folder: Path) -> tuple[float, Path]:
    """The recipe as the worker runs it. Seconds of training, and the adapter."""
    from qlora_ui.events import EventReader, Phase
    from qlora_ui.jobs import write_folder
    from qlora_ui.training.train import train
    from qlora_ui.training.worker import Worker

    job = folder / "ours" / "jobs" / "job"
    config = TrainConfig(
        model=Model(source="folder", name_or_path=str(folder / "model")),
        dataset=Dataset(source="file", path=str(folder / "train.jsonl"), name="train", eval_share=0),
        lora=LORA,
        trainer=Trainer(num_train_epochs=1, learning_rate=RATE, warmup_steps=0, max_grad_norm=1.0),
        batch=Batch(rows_per_step=ROWS_PER_STEP, max_length=LENGTH),
    )
    write_folder(job, config)
    worker = Worker(job, 1)
    train(config, worker)
    worker.end()
    events = EventReader(job / "events.jsonl").read()
    times = {event.name: event.time for event in events if isinstance(event, Phase)}
    return times["saving"] - times["training"], job / "adapter"


def trl(folder: Path, **settings: Any) -> tuple[float, Path]:
    """TRL's SFTTrainer, everything unsaid as it ships."""
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    rows = load_dataset("json", data_files=str(folder / "train.jsonl"), split="train").map(_conversational)
    dtype = base_model.compute_dtype(CPU)
    model = AutoModelForCausalLM.from_pretrained(
        folder / "model",
        dtype=dtype,
        quantization_config=BitsAndBytesConfig(**Quantization().model_dump(), bnb_4bit_compute_dtype=dtype),
    )
    trainer = SFTTrainer(
        model=model,
        train_dataset=rows,
        peft_config=LoraConfig(task_type="CAUSAL_LM", **LORA.model_dump()),
        args=SFTConfig(
            output_dir=str(folder / "trl"),
            max_length=LENGTH,
            num_train_epochs=1,
            learning_rate=RATE,
            use_cpu=True,
            bf16=dtype == torch.bfloat16,
            report_to="none",
            save_strategy="no",
            **settings,
        ),
    )
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    trainer.save_model(str(folder / "trl" / "adapter"))
    return seconds, folder / "trl" / "adapter"


def _conversational(row: dict[str, str]) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "completion": [{"role": "assistant", "content": row["completion"]}],
    }


def llama_factory(folder: Path) -> tuple[float, Path]:
    """Its command line, in the environment that LLAMA_FACTORY_BIN names."""
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text("utf-8").splitlines()]
    alpaca = [{"instruction": row["prompt"], "input": "", "output": row["completion"]} for row in rows]
    (folder / "train.json").write_text(json.dumps(alpaca), "utf-8")
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "train.json"}}), "utf-8")
    out = folder / "llama-factory"
    settings = {
        "model_name_or_path": str(folder / "model"), "template": "chatml", "stage": "sft", "do_train": True,
        "finetuning_type": "lora", "lora_rank": LORA.r, "lora_alpha": LORA.lora_alpha, "lora_dropout": 0,
        "lora_target": "all", "quantization_bit": 4, "double_quantization": True,
        "dataset": "rows", "dataset_dir": str(folder), "cutoff_len": LENGTH, "packing": True,
        "neat_packing": True, "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": bins_a_step(folder),
        "learning_rate": RATE, "num_train_epochs": 1, "use_cpu": True, "report_to": "none",
        "bf16": base_model.compute_dtype(CPU) == torch.bfloat16,  # else in the model's own, fp32
        "save_strategy": "no", "logging_steps": 1, "output_dir": str(out), "overwrite_output_dir": True,
    }  # fmt: skip
    config = folder / "llama-factory.yaml"  # JSON is YAML, and 0.9.5 cannot read a .json
    config.write_text(json.dumps(settings), "utf-8")
    program = Path(os.environ["LLAMA_FACTORY_BIN"]) / "llamafactory-cli"
    subprocess.run([str(program), "train", str(config)], check=True)
    results = json.loads((out / "train_results.json").read_text("utf-8"))
    return float(results["train_runtime"]), out


def token_rows(folder: Path, name: str) -> list[TokenRow]:
    """The rows of a file as the recipe reads them: what counts as a token, and as an answer's."""
    lines = (folder / f"{name}.jsonl").read_text("utf-8").splitlines()
    talks = [_conversational(json.loads(line)) for line in lines]
    examples = [Example(i, [*talk["prompt"], *talk["completion"]], None) for i, talk in enumerate(talks)]
    tokenizer = base_model.load_tokenizer(folder / "model")
    return tokenise(examples, tokenizer, LENGTH, lambda done: None).rows


def bins_a_step(folder: Path) -> int:
    """Bins that hold ROWS_PER_STEP rows, as the recipe counts them."""
    rows = token_rows(folder, "train")
    return bins_per_step(len(rows), len(pack(rows, LENGTH, 0)), ROWS_PER_STEP)


def held_out_loss(folder: Path, adapter: Path) -> float:
    """Cross-entropy of the answers' tokens, one row at a time: nobody's own packing or loss."""
    from peft import PeftModel

    dtype = base_model.compute_dtype(CPU)
    base = base_model.load_base(folder / "model", Quantization(), CPU, dtype)
    model = PeftModel.from_pretrained(base, adapter).eval()
    total, count = 0.0, 0
    for row in token_rows(folder, "eval"):
        labels = torch.tensor(row.labels)[None]
        with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = model(torch.tensor(row.input_ids)[None]).logits
        total += torch.nn.functional.cross_entropy(
            logits[0, :-1].float(), labels[0, 1:], ignore_index=-100, reduction="sum"
        ).item()
        count += int((labels[0, 1:] != -100).sum())
    return total / count


CONTENDERS = {
    "ours": ours,
    "trl-example": trl,
    "trl-packing": lambda folder: trl(
        folder,
        packing=True,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=bins_a_step(folder),
        gradient_checkpointing=False,
    ),
    "llama-factory": llama_factory,
}


def main(name: str, folder: Path) -> None:
    seconds, adapter = CONTENDERS[name](folder)
    whose = resource.RUSAGE_CHILDREN if name == "llama-factory" else resource.RUSAGE_SELF
    peak = resource.getrusage(whose).ru_maxrss * 1024
    tokens = sum(len(row.input_ids) for row in token_rows(folder, "train"))
    result = {"seconds": seconds, "peak": peak, "loss": held_out_loss(folder, adapter), "tokens": tokens}
    (folder / f"{name}.json").write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
