"""A model of lm-evaluation-harness that says what it is told; imported where lm_eval is installed."""

from collections.abc import Callable
from typing import Any

from lm_eval.api.model import LM


class Parrot(LM):
    """Answers each question with what `say` makes of its row."""

    def __init__(self, say: Callable[[dict[str, Any]], str]) -> None:
        super().__init__()
        self.say = say

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return chat_history[0]["content"]

    @property
    def tokenizer_name(self):
        return "parrot"

    def generate_until(self, requests, disable_tqdm=False):
        return [self.say(request.doc) for request in requests]

    def loglikelihood(self, requests):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError
