"""Summaries: what the model writes for each row, against the row's own response, by ROUGE-L, BLEU and BERTScore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s2l.data.pool import read_pool
from s2l.errors import DataError, printable
from s2l.ids import id_order
from s2l.progress import SILENT, Progress
from s2l.target.evaluate_settings import EvaluateSettings
from s2l.target.evaluated import Evaluated, check_row, read_as, text_of
from s2l.target.generate import generate
from s2l.types import Turn

MAX_NEW_TOKENS = 256


def summaries(
    evaluated: Evaluated, settings: EvaluateSettings, workers: int, progress: Progress = SILENT
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The figures, and a row for each prompt: prompt, reference, output, ROUGE-L.

    The prompt is all that stands before the row's last answer. Rows that can be read in the order of their ids, the
    first `settings.limit` of them. Raises DataError naming a row without an answer, or that is no valid Unicode.
    """
    assert settings.summaries is not None
    pool = read_pool(read_as((settings.summaries,), evaluated.reading), progress)
    in_order = id_order(pool.rows.ids)
    chosen = in_order[~pool.rows.excluded_N[in_order]][: settings.limit].tolist()
    if not chosen:
        raise DataError(f"{printable(settings.summaries)}: no row in it can be used")
    asked, references = [], []
    for row in chosen:
        example = pool.example(row)
        *before, answer = example.turns or (Turn("user", ""),)
        if answer.role != "assistant" or not answer.text.strip():
            raise DataError(f"{pool.rows.place(row)}: no response at the end of the row to compare with; leave it out")
        check_row(pool.rows.place(row), *(turn.text for turn in example.turns), example.tools or "")
        asked.append(evaluated.prompt(before, example.tools))
        references.append(answer.text)
    prompts = list(map(text_of, asked))
    with progress.stage("write summaries", len(prompts), "rows") as advance:
        outputs = generate(
            evaluated.model,
            evaluated.encode(asked),
            settings.max_new_tokens or MAX_NEW_TOKENS,
            ends=evaluated.ends,
            window=evaluated.window,
            batch_tokens=settings.batch_tokens,
            workers=workers,
            advance=advance,
        )
    texts = [evaluated.decode(output.ids).strip() for output in outputs]
    rouge_N = rouge_l(texts, references)
    figures = {
        "n": len(texts),
        "of": len(pool),
        "rouge_l": sum(rouge_N) / len(rouge_N),
        "bleu": bleu(texts, references),
        "bertscore": None,
        "cut": sum(not output.ended for output in outputs),
        "prompt_too_long": sum(not output.read for output in outputs),
        "file": settings.summaries,
        "digest": pool.digest,
    }
    if settings.bertscore is not None:
        from s2l.target.bertscore import bertscore

        found = bertscore(texts, references, Path(settings.bertscore), progress)
        figures["bertscore"] = sum(found) / len(found)
    ids = [pool.rows.ids[row].decode() for row in chosen]
    columns = {"id": ids, "prompt": prompts, "reference": references, "output": texts, "rouge_l": rouge_N}
    return figures, [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def rouge_l(texts: Sequence[str], references: Sequence[str]) -> list[float]:
    """F1 of the longest common subsequence of words, 0 to 1, by rouge-score without stemming.

    It reads letters a to z and digits alone: text in other scripts scores 0.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return [
        float(scorer.score(reference, text)["rougeL"].fmeasure)
        for text, reference in zip(texts, references, strict=True)
    ]


def bleu(texts: Sequence[str], references: Sequence[str]) -> float:
    """BLEU of the corpus, 0 to 100, by sacrebleu's defaults (13a, exponential smoothing)."""
    from sacrebleu.metrics.bleu import BLEU

    return float(BLEU().corpus_score(list(texts), [list(references)]).score)
