"""TRL: a short script that loads the subset, maps its columns and trains; made to be read and changed."""

from __future__ import annotations

from s2l.data.handover.training_rows import (
    BATCH_ROWS,
    BATCH_STEPS,
    EPOCHS,
    LEARNING_RATE,
    TARGET,
    WARMUP,
    TrainingRows,
    alpaca_prompts,
)
from s2l.data.shapes import ROLES

SCRIPT = '''\
"""Fine-tune a model on this subset with TRL (pip install trl; written for 1.16): python trl_train.py"""

{imports}

MODEL = {target!a}
HERE = Path(__file__).parent
FILES = {files!a}
{constants}
{helpers}
def to_trl(row):
{body}

def load():
    parts = [{load} for name in FILES]
    return concatenate_datasets([part.map(to_trl, remove_columns=part.column_names) for part in parts])


if __name__ == "__main__":
    from trl import SFTConfig, SFTTrainer

    settings = SFTConfig(
        output_dir=str(HERE / "trl-out"),
        max_length={max_length},
        num_train_epochs={epochs},
        learning_rate={learning_rate},
        lr_scheduler_type="cosine",
        warmup_steps={warmup},  # a share of all steps
        per_device_train_batch_size={batch_rows},
        gradient_accumulation_steps={batch_steps},
        assistant_only_loss={is_conversation},
    )
    SFTTrainer(model=MODEL, args=settings, train_dataset=load()).train()
'''


HELPERS = {
    "text": """
def text(value):
    return "" if value is None else str(value)

""",
    "listed": """
def listed(value):
    return json.loads(value) if isinstance(value, str) else value or []

""",
}


def files(rows: TrainingRows) -> dict[str, str]:
    """Name → text of what TRL needs."""
    imports, load = _loading(rows)
    is_conversation = rows.is_chat or (rows.is_question and bool({"system", "history"} & set(rows.parts)))
    body = "".join(f"    {line}\n" for line in _body(rows, is_conversation))
    helpers = [helper for name, helper in HELPERS.items() if f"{name}(" in body]
    script = SCRIPT.format(
        imports=("import json\n" if "listed(" in body else "") + imports,
        target=TARGET,
        files=list(rows.files),
        constants=_constants(rows, is_conversation),
        helpers="".join(helpers),
        body=body,
        load=load,
        max_length=rows.max_length,
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        warmup=WARMUP,
        batch_rows=BATCH_ROWS,
        batch_steps=BATCH_STEPS,
        is_conversation=is_conversation and not rows.has_message_lists,
    )
    return {"trl_train.py": script}


def _loading(rows: TrainingRows) -> tuple[str, str]:
    """The imports and the expression that read the file `name` in the folder HERE."""
    if rows.loader == "csv":  # load_dataset would read 0.10 as a number and NA as nothing
        separator = '"\\t" if ".tsv" in name.lower() else ","'
        cells = f"pandas.read_csv(HERE / name, sep={separator}, dtype=str, keep_default_na=False)"
        return (
            "from pathlib import Path\n\nimport pandas\nfrom datasets import Dataset, concatenate_datasets",
            f"Dataset.from_pandas({cells})",
        )
    if rows.loader is None:
        return (
            "from pathlib import Path\n\nfrom datasets import concatenate_datasets, load_from_disk",
            "load_from_disk(str(HERE / name))",
        )
    load = f'load_dataset({rows.loader!a}, data_files=str(HERE / name), split="train")'
    return "from pathlib import Path\n\nfrom datasets import concatenate_datasets, load_dataset", load


def _constants(rows: TrainingRows, is_conversation: bool) -> str:
    if rows.is_chat:
        return f"ROLES = {ROLES!a}\n"
    if rows.is_question and not is_conversation and not rows.has_message_lists:
        without_input, with_input = alpaca_prompts()
        constants = f"PROMPT = {without_input!a}\n"
        return constants + (f"PROMPT_WITH_INPUT = {with_input!a}\n" if "input" in rows.parts else "")
    return ""


def _body(rows: TrainingRows, is_conversation: bool) -> list[str]:
    """The lines of `to_trl`."""
    cells = {part: f"row[{column!a}]" for part, column in rows.parts.items()}
    if rows.format == "text":
        return [f'return {{"text": text({cells["text"]})}}']
    if rows.format == "tokenized":
        return _tokens(cells)
    if rows.is_chat:
        return _chat(rows, cells)
    if rows.has_message_lists:
        return [f'return {{"prompt": {cells["prompt"]}, "completion": {cells["response"]}}}']
    if is_conversation:
        return _conversation(cells)
    prompt = f"prompt = PROMPT.format(instruction=text({cells['prompt']}))"
    lines = [prompt, f'return {{"prompt": prompt, "completion": text({cells["response"]})}}']
    if "input" in cells:
        filled = f"PROMPT_WITH_INPUT.format(instruction=text({cells['prompt']}), input=text({cells['input']}))"
        lines[1:1] = [f"if {cells['input']}:", f"    prompt = {filled}"]
    return lines


def _tokens(cells: dict[str, str]) -> list[str]:
    lines = [f"tokens = listed({cells['input_ids']})", "labels = tokens"]
    if "labels" in cells:
        lines[1] = f"labels = listed({cells['labels']})"
    elif "mask" in cells:
        lines[1] = f"labels = [t if counted else -100 for t, counted in zip(tokens, listed({cells['mask']}))]"
    return [*lines, 'return {"input_ids": tokens, "labels": labels}']


def _chat(rows: TrainingRows, cells: dict[str, str]) -> list[str]:
    own = f'{{"role": ROLES[message[{rows.role_key!a}]], "content": message[{rows.text_key!a}]}}'
    tools = f', "tools": listed({cells["tools"]})' if "tools" in cells else ""
    return [
        "# A message's own `train: false` or `weight: 0` is not heeded: TRL trains on all answers.",
        *_system(cells),
        f"for message in listed({cells[rows.format]}):",
        f"    other = {{k: v for k, v in message.items() if k not in {(rows.role_key, rows.text_key)!a}}}",
        f"    messages.append({own} | other)",
        f'return {{"messages": messages{tools}}}',
    ]


def _conversation(cells: dict[str, str]) -> list[str]:
    lines = _system(cells)
    if "history" in cells:
        pair = '[{"role": "user", "content": question}, {"role": "assistant", "content": answer}]'
        lines += [f"for question, answer in listed({cells['history']}):", f"    messages += {pair}"]
    question = f"text({cells['prompt']})"
    if "input" in cells:
        question += f' + ("\\n" + text({cells["input"]}) if {cells["input"]} else "")'
    return [
        *lines,
        f'messages.append({{"role": "user", "content": {question}}})',
        f'messages.append({{"role": "assistant", "content": text({cells["response"]})}})',
        'return {"messages": messages}',
    ]


def _system(cells: dict[str, str]) -> list[str]:
    if "system" not in cells:
        return ["messages = []"]
    return [f'messages = [{{"role": "system", "content": {cells["system"]}}}] if {cells["system"]} else []']
