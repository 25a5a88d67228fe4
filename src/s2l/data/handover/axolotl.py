"""axolotl: one YAML file that maps the columns."""

from __future__ import annotations

from typing import Any

from s2l.data.handover.training_rows import (
    BATCH_ROWS,
    BATCH_STEPS,
    EPOCHS,
    LEARNING_RATE,
    TARGET,
    WARMUP,
    TrainingRows,
    alpaca_prompts,
    yaml_text,
)
from s2l.data.shapes import ROLES


def files(rows: TrainingRows) -> dict[str, str]:
    """Name → text of what axolotl needs; nothing for rows that it cannot read: prompts of messages."""
    if rows.has_message_lists:
        return {}
    kind = {"ds_type": rows.loader} if rows.loader else {}
    settings = {
        "base_model": TARGET,
        "datasets": [{"path": f"./{name}", **kind, **_how(rows)} for name in rows.files],
        "sequence_len": rows.max_length,
        "micro_batch_size": BATCH_ROWS,
        "gradient_accumulation_steps": BATCH_STEPS,
        "num_epochs": EPOCHS,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler": "cosine",
        "warmup_ratio": WARMUP,
        "optimizer": "adamw_torch",
        "train_on_inputs": False,
        "val_set_size": 0,
        "output_dir": "./axolotl-out",
    }
    return {"axolotl.yaml": yaml_text(settings, _notes(rows))}


def _notes(rows: TrainingRows) -> list[str]:
    notes = [f"Run in this folder: axolotl train axolotl.yaml. Put your model for {TARGET}."]
    if rows.is_question and "history" in rows.parts:
        notes.append("axolotl reads no history column: earlier turns are left out; trl_train.py keeps them.")
    if rows.is_chat:
        notes.append("A tokenizer without a chat template needs one: chat_template: chatml.")
        notes.append("Messages that say whether to train on them (train: false) need message_field_training: train.")
        if "system" in rows.parts:
            notes.append("axolotl reads no system column beside messages: it is left out; trl_train.py keeps it.")
    if rows.format == "tokenized":
        notes.append("axolotl wants the columns input_ids, attention_mask (ones) and labels (-100: not counted).")
        notes.append(f"These rows have {', '.join(map(ascii, rows.parts.values()))}: add what is missing first.")
    if any(container and container.kind == "csv" for container in rows.files.values()):
        notes.append(
            "CSV: datasets reads 12 as a number, NA as nothing, and tabs as text: convert to JSONL if that hurts."
        )
    return notes


def _how(rows: TrainingRows) -> dict[str, Any]:
    if rows.is_question:
        return {"type": _prompt(rows)}
    if rows.format == "text":
        return {"type": "completion", "field": rows.parts["text"]}
    if rows.format == "tokenized":
        return {"type": ""}
    tools = {"field_tools": rows.parts["tools"]} if "tools" in rows.parts else {}
    roles: dict[str, list[str]] = {}
    for said, role in ROLES.items():
        roles.setdefault(role, []).append(said)
    return {
        "type": "chat_template",
        "field_messages": rows.parts[rows.format],
        "message_property_mappings": {"role": rows.role_key, "content": rows.text_key},
        **tools,
        "roles": roles,
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }


def _prompt(rows: TrainingRows) -> dict[str, str]:
    without_input, with_input = alpaca_prompts()
    fields = {"field_instruction": rows.parts["prompt"], "field_output": rows.parts["response"]}
    fields |= {f"field_{part}": rows.parts[part] for part in ("input", "system") if part in rows.parts}
    formats = {"format": with_input, "no_input_format": without_input}
    return {"system_prompt": "", "system_format": "{system}\n\n", **fields, **formats}
