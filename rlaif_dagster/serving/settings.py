"""How a server may be asked, and at what price; spelled as in the input files."""

from pydantic import BaseModel, ConfigDict, Field


class _Settings(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class PriceSettings(_Settings):
    """What a server charges."""

    input_per_million: float = Field(ge=0.0, allow_inf_nan=False)
    """Price of a million tokens read."""
    output_per_million: float = Field(ge=0.0, allow_inf_nan=False)
    """Price of a million tokens written."""
    currency: str = Field(default="USD", min_length=1)

    def find_cost(self, input_tokens: int, output_tokens: int) -> float:
        """What so many tokens cost."""
        return (input_tokens * self.input_per_million + output_tokens * self.output_per_million) / 1e6


class BudgetSettings(_Settings):
    """What one run may spend at this server; it stops before that, and the next run continues from there.

    A request that the server turned away (with an error status) is not spent.
    """

    calls: int | None = Field(default=None, ge=1)
    """Requests, repeated attempts counted."""
    tokens: int | None = Field(default=None, ge=1)
    """Read and written together."""
    cost: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """In the currency of `price`, which must be given."""


class LimitSettings(_Settings):
    """How fast a server is asked; not part of a recipe."""

    concurrency: int = Field(default=64, ge=1, le=4096)
    """Most calls in flight; fewer where the server says that it is too much."""
    requests_per_minute: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    tokens_per_minute: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    timeout_seconds: float = Field(default=60.0, gt=0.0, allow_inf_nan=False)
    """What the server may take for one call; waiting behind calls that were sent before does not count."""
    max_attempts: int = Field(default=6, ge=1, le=100)
    """Attempts at one call, where the fault may pass."""
    retry_unparsed: bool = False
    """Whether questions whose reply holds no verdict (unparsed, refused, cut off) are asked, and paid for, again."""
    budget: BudgetSettings = BudgetSettings()
