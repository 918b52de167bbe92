"""What asking has cost."""

from __future__ import annotations

from forge.records import Record, TeacherAnswer


class Spent(Record):
    """Questions by how they ended, and the tokens of those that were asked this time."""

    asked: int = 0
    cached: int = 0
    """Answered from what earlier runs had asked."""
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(**{name: getattr(self, name) + getattr(other, name) for name in Spent.model_fields})

    def cost(self, prompt_price: float, answer_price: float) -> float:
        """Money, at prices for a million tokens."""
        return (self.prompt_tokens * prompt_price + self.completion_tokens * answer_price) / 1e6

    def told(self, prompt_price: float = 0.0, answer_price: float = 0.0) -> str:
        """One phrase for a person."""
        parts = [f"{self.asked} asked", f"{self.cached} known already"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.prompt_tokens:,} + {self.completion_tokens:,} tokens"]
        parts += [f"cost {self.cost(prompt_price, answer_price):.2f}"] if prompt_price or answer_price else []
        return ", ".join(parts)


FAILED = Spent(failed=1)


def spent_on(answer: TeacherAnswer) -> Spent:
    """What one answer took."""
    if answer.cached:
        return Spent(cached=1)
    return Spent(asked=1, prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens)
