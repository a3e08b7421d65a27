"""How a server may be asked, and at what price; spelled as in the input files."""

from pydantic import BaseModel, ConfigDict, Field


class _Settings(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class PriceSettings(_Settings):
    """What a server charges."""

    input_per_million: float = Field(ge=0.0, allow_inf_nan=False)
    """The price of a million input tokens."""
    output_per_million: float = Field(ge=0.0, allow_inf_nan=False)
    """The price of a million output tokens."""
    currency: str = Field(default="USD", min_length=1)

    def find_cost(self, input_tokens: int, output_tokens: int) -> float:
        """Computes what a number of tokens costs."""
        return (input_tokens * self.input_per_million + output_tokens * self.output_per_million) / 1e6


class BudgetSettings(_Settings):
    """What one run may spend on this server. A run stops before it exceeds this, and the next run continues from there.

    A request that the server rejected (with an error status) does not count.
    """

    calls: int | None = Field(default=None, ge=1)
    """The largest number of requests, including repeated attempts."""
    tokens: int | None = Field(default=None, ge=1)
    """The largest number of tokens, input and output together."""
    cost: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """The largest cost, in the currency of `price`, which must be set."""


class LimitSettings(_Settings):
    """How fast a server is asked; not part of a recipe."""

    concurrency: int = Field(default=64, ge=1, le=4096)
    """The most calls in flight; fewer if the server says that it is too much."""
    requests_per_minute: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    tokens_per_minute: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    timeout_seconds: float = Field(default=60.0, gt=0.0, allow_inf_nan=False)
    """The server's time limit for one call; waiting behind calls that were sent before does not count."""
    max_attempts: int = Field(default=6, ge=1, le=100)
    """The largest number of attempts of one call, if the fault is temporary."""
    retry_unparsed: bool = False
    """Whether questions whose reply has no verdict (unparsed, refused, cut off) are asked, and paid for, again."""
    budget: BudgetSettings = BudgetSettings()
