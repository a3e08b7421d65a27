"""Writes a card with the Hub's own library: a YAML header of metadata, then text for people.

A card that is part of a version is content: it has no time, path or host, and the same facts give the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.names import REWARD_MODEL

SPLIT: Final = "full"
"""The split that `datasets` assigns to all rows of a table, whatever a column `split` says."""

Kind = Literal["model", "dataset"]

_TASKS = {
    REWARD_MODEL: ("text-classification", "transformers.AutoModelForSequenceClassification"),
}
_WRITES = ("text-generation", "transformers.AutoModelForCausalLM")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How a version was made.

    Attributes:
        made_from: Digest of each version that it was made from, by asset.
        settings: The settings.
        lineage: Name and sha256 of the version, of everything that it was made from, and of their files.
    """

    made_from: Mapping[str, str]
    settings: JsonValue
    lineage: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """The content of a card.

    Attributes:
        title: The asset.
        kind: The kind of thing that the card describes.
        description: What it is, for people.
        figures: Counts and metrics, by name.
        tables: Paths of its parquet tables.
        origin: How the version was made; None in a card that is part of the version itself.
    """

    title: str
    kind: Kind
    description: str
    figures: Mapping[str, JsonValue]
    tables: tuple[str, ...] = ()
    origin: Origin | None = None


def render_card(facts: CardFacts) -> str:
    """Renders a card."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("rlaif_dagster.cards", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown; what a person wrote stands in blocks of JSON
    )
    return environment.get_template("card.md.jinja").render(
        facts=facts,
        metadata=_write_metadata(facts),
        opener=_find_task(facts.title)[1],
        settings=_write_block(facts.origin.settings) if facts.origin else None,
        figures=_write_block(dict(facts.figures)),
    )


def _write_metadata(facts: CardFacts) -> str:
    from huggingface_hub import DatasetCardData, ModelCardData

    tags = ["rlaif", "rlaif-dagster"]
    if facts.kind == "model":
        task = _find_task(facts.title)[0]
        return ModelCardData(library_name="transformers", pipeline_tag=task, tags=tags).to_yaml()
    configs = [
        {
            "config_name": table.removesuffix(".parquet"),
            "data_files": [{"split": SPLIT, "path": table}],
        }
        for table in facts.tables
    ]
    return DatasetCardData(pretty_name=facts.title, tags=tags, configs=configs).to_yaml()


def _find_task(asset: str) -> tuple[str, str]:
    """Finds the Hub's name of a model's task, and the class that opens it."""
    return _TASKS.get(asset.rpartition("/")[2], _WRITES)


def _write_block(value: Any) -> str:
    """Writes JSON as an indented block, so that no text in it can end the block."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    return "\n".join(f"    {line}" for line in text.splitlines())
