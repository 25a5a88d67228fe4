"""What transformers prints, and that it prints again."""

import logging

import pytest
from transformers.utils import logging as transformers_logging

from s2l.proxy.quiet import quiet


def speak() -> None:
    logging.getLogger("transformers.trainer").error("a word")
    for _ in transformers_logging.tqdm(range(3), desc="a bar"):
        pass


def test_inside_nothing_shows_and_after_it_everything(capfd: pytest.CaptureFixture[str]) -> None:
    bars: list[str] = []
    hook = transformers_logging.set_tqdm_hook(lambda factory, args, kwargs: bars.append(kwargs["desc"]) or args[0])
    try:
        with quiet():
            speak()
        assert not bars
        with pytest.raises(KeyError), quiet():
            raise KeyError
        speak()
        assert bars == ["a bar"]
    finally:
        transformers_logging.set_tqdm_hook(hook)
    assert capfd.readouterr().out == ""
