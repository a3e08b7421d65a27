"""Changes that people make, by the words with which docs/plan.md tells them; each is made on the tiny project."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from rlaif_dagster.judging.templates import PACKAGED_TEMPLATES
from rlaif_dagster.models import embedded_path
from tests.conftest import edit_yaml

Edit = Callable[[Path], None]


def edit_text(file: str, old: str, new: str) -> Edit:
    def edit(inputs: Path) -> None:
        text = (inputs / file).read_text()
        assert old in text
        (inputs / file).write_text(text.replace(old, new, 1))

    return edit


def set_field(file: str, path: str, value: Any) -> Edit:
    """Sets a field of a YAML file, named by its dotted path."""
    *sections, name = path.split(".")

    def change(settings: Any) -> None:
        for section in sections:
            settings = settings.setdefault(section, {})
        settings[name] = value

    return lambda inputs: edit_yaml(inputs / file, change)


def edit_principles(change: Callable[[list[dict[str, Any]]], object]) -> Edit:
    def edit(settings: dict[str, Any]) -> None:
        change(settings["principles"])

    return lambda inputs: edit_yaml(inputs / "constitution.yaml", edit)


def edit_lines(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Edit:
    """Changes the lines of the prompts file."""

    def edit(inputs: Path) -> None:
        file = inputs / "prompts.jsonl"
        lines = change([json.loads(line) for line in file.read_text().splitlines()])
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    return edit


def sort_keys(inputs: Path) -> None:
    for file in ("judge.yaml", "pipeline.yaml"):
        value = yaml.safe_load((inputs / file).read_text())
        (inputs / file).write_text(yaml.safe_dump(value, sort_keys=True))


def add_white_space(inputs: Path) -> None:
    edit_text("constitution.yaml", "principles:\n", "\n\nprinciples:   \n\n")(inputs)
    edit_text("constitution.yaml", "Be polite to the user.", "'  Be polite to the user.  '")(inputs)
    edit_text("prompts.jsonl", '{"prompt": "', '\n{"prompt":     "  ')(inputs)


def rename_prompts(inputs: Path) -> None:
    (inputs / "prompts.jsonl").rename(inputs / "questions.jsonl")
    set_field("pipeline.yaml", "prompts.file", "inputs/questions.jsonl")(inputs)


def name_own_template(inputs: Path, old: str = "", new: str = "") -> None:
    text = (PACKAGED_TEMPLATES / "compact.yaml").read_text()
    (inputs / "mine.yaml").write_text(text.replace(old, new))
    set_field("judge.yaml", "template", "inputs/mine.yaml")(inputs)


def copy_base_policy(inputs: Path) -> None:
    shutil.copytree(embedded_path("policy"), inputs.parent / "models" / "mine")
    set_field("pipeline.yaml", "base_policy.model", "models/mine")(inputs)


CHANGES: dict[str, Edit] = {
    "a comment": edit_text("constitution.yaml", "principles:", "# why these three\nprinciples:"),
    "keys in another order": sort_keys,
    "white space": add_white_space,
    "principles in another order": edit_principles(list.reverse),
    "prompts in another order, one given twice": edit_lines(lambda lines: [*lines[::-1], lines[0]]),
    "the prompts file renamed": rename_prompts,
    "the same template in a file of your own": name_own_template,
    "the same base policy in a folder of your own": copy_base_policy,
    "larger batches (`execution`)": set_field("pipeline.yaml", "execution.judging_batch_size", 16),
    "one principle reworded": edit_text("constitution.yaml", "Be polite to the user.", "Be kind and polite."),
    "one principle re-weighted": edit_principles(lambda principles: principles[2].update(weight=3.0)),
    "one principle renamed": edit_text("constitution.yaml", "id: polite", "id: kind"),
    "one principle added": edit_principles(
        lambda principles: principles.append({"id": "concise", "text": "Keep the answer short."})
    ),
    "one principle removed": edit_principles(lambda principles: principles.pop()),
    "one prompt added": edit_lines(lambda lines: [*lines, {"prompt": "Otto here. How can I learn to swim?"}]),
    "one prompt removed": edit_lines(lambda lines: lines[1:]),
    "one prompt put into a category": edit_lines(
        lambda lines: [{**lines[0], "category": "other"}, *lines[1:]]
    ),
    "`prompts.eval_fraction` 0.3 to 0.5": set_field("pipeline.yaml", "prompts.eval_fraction", 0.5),
    "`seed` 3 to 4": set_field("pipeline.yaml", "seed", 4),
    "`sampling.num_samples` 3 to 5": set_field("pipeline.yaml", "sampling.num_samples", 5),
    "`sampling.num_samples` 3 to 2": set_field("pipeline.yaml", "sampling.num_samples", 2),
    "`sampling.temperature` 1 to 0.9": set_field("pipeline.yaml", "sampling.temperature", 0.9),
    "`pairing.max_pairs_per_prompt` null to 2": set_field("pipeline.yaml", "pairing.max_pairs_per_prompt", 2),
    "`template` reworded": lambda inputs: name_own_template(inputs, "Better:", "Which one:"),
    "`protocol` to joint": set_field("judge.yaml", "protocol", "joint"),
    "`max_length` null to 200": set_field("judge.yaml", "max_length", 200),
    "`preferences.near_tie_margin` 0.1 to 0.2": set_field(
        "pipeline.yaml", "preferences.near_tie_margin", 0.2
    ),
    "`reward_model.learning_rate`": set_field("pipeline.yaml", "reward_model.learning_rate", 2e-3),
    "`policy.beta`": set_field("pipeline.yaml", "policy.beta", 0.2),
    "`evaluation.num_samples` 1 to 2": set_field("pipeline.yaml", "evaluation.num_samples", 2),
    "`release.require` nothing": set_field("pipeline.yaml", "release.require", []),
}
