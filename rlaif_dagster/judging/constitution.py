"""The constitution: the principles by which answers are judged, each with a weight."""

from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rlaif_dagster.digest import Digest, JsonValue


class PrincipleSettings(BaseModel):
    """One principle, as written in the constitution file."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    id: str
    """A short name: lower-case letters, digits, `-` and `_`."""
    text: str
    """The text that the judge reads."""
    weight: float = Field(default=1.0, ge=1e-6, le=1e6, allow_inf_nan=False)
    """Its weight in the soft label, relative to the other principles."""

    @field_validator("id")
    @classmethod
    def _check_slug(cls, text: str) -> str:
        if not text.isascii() or not text.replace("-", "").replace("_", "").isalnum() or text != text.lower():
            raise ValueError(
                f"the id {text!r} is not a short name; "
                "remedy: use only lower-case letters, digits, - and _, for example be_honest"
            )
        return text

    @field_validator("text")
    @classmethod
    def _check_text(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("the principle is empty; remedy: write its text, or remove it")
        return text.strip()


class ConstitutionSettings(BaseModel):
    """`inputs/constitution.yaml`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    principles: list[PrincipleSettings]

    @field_validator("principles")
    @classmethod
    def _check_principles(cls, principles: list[PrincipleSettings]) -> list[PrincipleSettings]:
        if not principles:
            raise ValueError("the constitution is empty; remedy: write at least one principle (id and text)")
        texts: dict[str, str] = {}
        ids: set[str] = set()
        for principle in principles:
            if principle.id in ids:
                raise ValueError(f"two principles have the id {principle.id!r}; remedy: rename or remove one")
            if principle.text in texts:
                raise ValueError(
                    f"the principles {texts[principle.text]!r} and {principle.id!r} have the same text; "
                    "remedy: remove one of them; raise the other's weight if it should count double"
                )
            ids.add(principle.id)
            texts[principle.text] = principle.id
        return principles


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Principle:
    """One principle."""

    id: str
    text: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Constitution:
    """At least one principle, with unique ids, sorted by id, every weight above 0."""

    principles: tuple[Principle, ...]

    def __post_init__(self) -> None:
        ids = [principle.id for principle in self.principles]
        if not ids:
            raise ValueError("a constitution must have at least one principle")
        if ids != sorted(set(ids)):
            raise ValueError(f"the principles {ids} are not sorted by unique ids")
        if not all(principle.weight > 0 for principle in self.principles):
            raise ValueError("every weight of a constitution must be above 0")

    @classmethod
    def from_settings(cls, settings: ConstitutionSettings) -> Self:
        """Builds the constitution; the order of the principles in the file does not matter."""
        return cls(
            principles=tuple(
                sorted(Principle(id=p.id, text=p.text, weight=p.weight) for p in settings.principles)
            )
        )

    @classmethod
    def from_json(cls, value: JsonValue) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: If the value is anything else.
        """
        return cls.from_settings(ConstitutionSettings.model_validate(value))

    def to_json(self) -> JsonValue:
        """The constitution as JSON, which `from_json` reads: `Constitution.from_json(c.to_json()) == c`."""
        return {"principles": [{"id": p.id, "text": p.text, "weight": p.weight} for p in self.principles]}

    @property
    def digest(self) -> Digest:
        """The digest of the JSON."""
        return Digest.from_json(self.to_json())

    @property
    def weights(self) -> dict[str, float]:
        """Weight by principle id."""
        return {principle.id: principle.weight for principle in self.principles}

    @property
    def joint_text(self) -> str:
        """The whole constitution as one rule; weights are mentioned only if they differ."""
        same = len({principle.weight for principle in self.principles}) == 1
        lines = [p.text if same else f"{p.text} (weight {p.weight:g})" for p in self.principles]
        return lines[0] if len(lines) == 1 else "\n".join(f"- {line}" for line in lines)
