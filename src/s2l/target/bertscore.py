"""BERTScore (Zhang et al. 2020, arXiv 1904.09675), by an encoder in a local folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from transformers import AutoModel, AutoTokenizer

from s2l.errors import SettingsError, shown
from s2l.progress import SILENT, Progress
from s2l.proxy.quiet import quiet

Embedded = Float[torch.Tensor, "L D"]


@quiet()
def bertscore(
    texts: Sequence[str], references: Sequence[str], folder: Path, progress: Progress = SILENT
) -> list[float]:
    """F1 of greedily matched token embeddings of the encoder's last layer: no idf weights, no rescaling.

    An empty text scores 0. What stands beyond the encoder's window is not read. Raises SettingsError where the folder
    holds no encoder.
    """
    if not folder.is_dir():
        raise SettingsError(f"--bertscore {shown(str(folder))}: no such folder; give that of an encoder (RoBERTa, …)")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        encoder = AutoModel.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        ).eval()
    except Exception as error:  # transformers has many ways to fail on a damaged file
        raise SettingsError(
            f"--bertscore {shown(str(folder))}: no encoder in safetensors here ({shown(str(error))})"
        ) from None
    window = min(
        int(tokenizer.model_max_length), int(getattr(encoder.config, "max_position_embeddings", None) or 2**30) - 2
    )

    def embedded(text: str) -> Embedded:
        encoded = tokenizer(
            text, truncation=True, max_length=window, return_tensors="pt", return_special_tokens_mask=True
        )
        own = ~encoded.pop("special_tokens_mask")[0].bool()
        if not own.any():
            return torch.zeros(0, encoder.config.hidden_size)
        with torch.inference_mode():
            states_LD = encoder(**encoded).last_hidden_state[0][own]
        return torch.nn.functional.normalize(states_LD, dim=-1)

    found = []
    with progress.stage("BERTScore", len(texts), "rows") as advance:
        for text, reference in zip(texts, references, strict=True):
            found.append(matched(embedded(text), embedded(reference)))
            advance(1)
    return found


def matched(text_LD: Float[torch.Tensor, "L D"], reference_MD: Float[torch.Tensor, "M D"]) -> float:
    """F1 of precision (each token of the text with its nearest of the reference) and recall (the other way round)."""
    if not len(text_LD) or not len(reference_MD):
        return 0.0
    cosine_LM = text_LD @ reference_MD.T
    precision, recall = cosine_LM.amax(1).mean().item(), cosine_LM.amax(0).mean().item()
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
