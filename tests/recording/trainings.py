"""Short trainings of a tiny Llama on the toy pool, with the trainers that people use; each leaves its checkpoints."""

import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

from toy_runs import toy_rows

HOW: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "max_steps": 6,
    "save_strategy": "steps",
    "save_steps": 2,
    "learning_rate": 1e-2,
    "report_to": [],
    "use_cpu": True,
    "disable_tqdm": True,
    "logging_strategy": "no",
    "seed": 0,
}


def by_trainer(base: Path, out: Path) -> Path:
    """transformers' Trainer, all weights; checkpoint-2, -4, -6."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [tokenizer(row["instruction"] + row["output"])["input_ids"][:48] for row in toy_rows() if row["output"]]
    data = Dataset.from_list([{"input_ids": ids, "labels": ids} for ids in rows])
    model = AutoModelForCausalLM.from_pretrained(base)

    def collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in batch)
        ids = torch.tensor([row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in batch])
        return {"input_ids": ids, "labels": ids}

    arguments = TrainingArguments(output_dir=str(out), **HOW)
    Trainer(model, arguments, collate, data, processing_class=tokenizer).train()
    return out


def by_trl_with_lora(base: Path, out: Path) -> Path:
    """TRL's SFTTrainer with LoRA; adapters in checkpoint-2, -4, -6."""
    rows = [{"prompt": row["instruction"], "completion": row["output"]} for row in toy_rows() if row["output"]]
    lora = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    arguments = SFTConfig(output_dir=str(out), max_length=48, bf16=False, gradient_checkpointing=False, **HOW)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(base)
    model.name_or_path = str(base)
    SFTTrainer(
        model, arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, peft_config=lora
    ).train()
    return out


def steps_of(run: Path) -> list[int]:
    """Of the checkpoints that a run is of."""
    steps: list[int] = json.loads((run / "proxy/plan.json").read_text())["saves"]
    return steps
