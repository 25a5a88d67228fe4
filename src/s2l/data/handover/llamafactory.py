"""LLaMA-Factory: a YAML file, and the `dataset_info.json` that maps the columns."""

from __future__ import annotations

import json
from typing import Any

from s2l.data.containers import Container
from s2l.data.handover.training_rows import (
    BATCH_ROWS,
    BATCH_STEPS,
    EPOCHS,
    LEARNING_RATE,
    TARGET,
    WARMUP,
    TrainingRows,
    yaml_text,
)

FOLDER = "llamafactory"
COLUMNS = {"input": "query", "text": "prompt", "conversations": "messages"}
OPENAI_TAGS = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}
SHAREGPT_TAGS = OPENAI_TAGS | {"user_tag": "human", "assistant_tag": "gpt", "observation_tag": "observation"}


def files(rows: TrainingRows) -> dict[str, str]:
    """Name → text of what LLaMA-Factory needs; nothing for rows that it cannot read: tokens, prompts of messages."""
    if rows.format == "tokenized" or rows.has_message_lists:
        return {}
    notes = [f"Run in this folder: llamafactory-cli train llamafactory.yaml. Put your model for {TARGET}."]
    info = {}
    for number, (name, container) in enumerate(rows.files.items(), start=1):
        readable, step = _readable(name, container)
        notes += [f"First {step}." for _ in range(readable != name)]
        info[f"s2l_subset_{number}"] = {"file_name": f"../{readable}", **_mapping(rows)}
    if rows.loader == "csv":
        notes.append("From CSV it reads 12 as a number, NA as nothing and lists as text: better convert to JSONL.")
    if rows.is_chat:
        notes.append("Conversations in which user and assistant do not take turns are skipped.")
    settings = {
        "model_name_or_path": TARGET,
        **_stage(rows),
        "do_train": True,
        "finetuning_type": "full",
        "dataset_dir": FOLDER,
        "dataset": ",".join(info),
        "cutoff_len": rows.max_length,
        "per_device_train_batch_size": BATCH_ROWS,
        "gradient_accumulation_steps": BATCH_STEPS,
        "num_train_epochs": float(EPOCHS),
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": WARMUP,
        "output_dir": "llamafactory-out",
    }
    return {
        f"{FOLDER}/dataset_info.json": json.dumps(info, indent=2) + "\n",
        "llamafactory.yaml": yaml_text(settings, notes),
    }


def _stage(rows: TrainingRows) -> dict[str, str]:
    if rows.format == "text":
        return {"stage": "pt"}
    return {"stage": "sft", "template": "YOUR-MODELS-TEMPLATE" if rows.is_chat else "alpaca"}


def _mapping(rows: TrainingRows) -> dict[str, Any]:
    columns = {COLUMNS.get(part, part): column for part, column in rows.parts.items()}
    if not rows.is_chat:
        return {"formatting": "alpaca", "columns": columns}
    tags = SHAREGPT_TAGS if rows.role_key == "from" else OPENAI_TAGS
    keys = {"role_tag": rows.role_key, "content_tag": rows.text_key}
    return {"formatting": "sharegpt", "columns": columns, "tags": keys | tags}


def _readable(name: str, container: Container | None) -> tuple[str, str]:
    """The file that it can read (it goes by the last suffix alone), and how that is made of the one there is."""
    if container is None:
        return f"{name}.parquet", f"in Python: datasets.load_from_disk({name!r}).to_parquet('{name}.parquet')"
    plain = name[: -len(container.compression) - 1] if container.compression else name
    stem, _, suffix = plain.rpartition(".")
    suffix = suffix.lower()
    readable = f"{stem}.{ {'ndjson': 'jsonl', 'tsv': 'csv'}.get(suffix, suffix) }"
    verb = "convert" if suffix == "tsv" else "decompress" if container.compression else "rename"
    return readable, f"{verb} {name!a} to {readable!a}"
