"""The tokenizer that checkpoints of another training share: theirs, or their base model's; one, the same for all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from s2l.errors import SettingsError, shown
from s2l.files import sha256_of, written_whole
from s2l.proxy.load import load_tokenizer
from s2l.recording.foreign import base_of, resolved
from s2l.recording.found import Left

FILE = "tokenizer.json"


def keep_tokenizer(found: Sequence[Left], named: str | None, kept: Path) -> PreTrainedTokenizerFast:
    """Put the tokenizer of the checkpoints into the folder `kept`, or check that it is the one there.

    named: for checkpoints that come without one. SettingsError where there is none, or where two differ.
    """
    places = list(dict.fromkeys(place for left in found if (place := place_of(left)) is not None))
    given = [resolved(named, None)] if named is not None else []
    if not (places or given):
        raise SettingsError(
            f"{found[0].name}: no tokenizer there, nor in the folder above; say which one: --tokenizer NAME"
        )
    first = kept if kept.is_dir() else (places or given)[0]
    tokenizer = load_tokenizer(first)
    seen = {sha256_of(first / FILE)}
    for place in [*places, *given]:
        if (digest := sha256_of(place / FILE)) not in seen:
            seen.add(digest)
            if load_tokenizer(place).get_vocab() != tokenizer.get_vocab():
                raise SettingsError(f"{shown(str(place))}: another tokenizer than {shown(str(first))} has")
    if not kept.is_dir():
        with written_whole(kept) as part:
            tokenizer.save_pretrained(part)
    return load_tokenizer(kept)


def place_of(left: Left) -> Path | None:
    """The folder of a checkpoint's tokenizer: its own, the one above, its base model's."""
    base = base_of(left.folder)
    above = [left.folder.parent] if left.revision is None else []
    places = [left.folder, *above, *([base] if base else [])]
    return next((place for place in places if (place / FILE).is_file()), None)
