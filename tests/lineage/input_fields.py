"""Projects that between them use every field of every input, and each field with another value.

The fields are read from the schemas.
"""

import json
import shutil
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, RootModel, ValidationError

from rlaif_dagster.inputs.overrides import OverridesFile
from rlaif_dagster.inputs.pipeline import PipelineSettings
from rlaif_dagster.inputs.project_inputs import JudgeFile
from rlaif_dagster.inputs.release import ReleaseFile
from rlaif_dagster.judging.constitution import ConstitutionSettings
from rlaif_dagster.judging.templates import PACKAGED_TEMPLATES, _TemplateFile
from rlaif_dagster.prompts import PromptLine
from tests.conftest import REPOSITORY

COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40
DIGEST, OTHER_DIGEST = (f"sha256:{digit * 64}" for digit in "ab")
SCHEMAS: Final[Mapping[str, type[BaseModel]]] = {
    "constitution.yaml": ConstitutionSettings,
    "judge.yaml": JudgeFile,
    "pipeline.yaml": PipelineSettings,
    "template.yaml": _TemplateFile,
    "prompts.jsonl": PromptLine,
    "release.yaml": ReleaseFile,
    "overrides.yaml": OverridesFile,
}
"""The files; `template.yaml` and the first line of `prompts.jsonl` are named by the others."""

MESSAGE = "{{ principle }} {{ prompt }} "
SAMPLED: dict[str, Any] = {
    "constitution.yaml": {
        "principles": [
            {"id": "kind", "text": "Be kind.", "weight": 2.0},
            {"id": "short", "text": "Be short."},
        ]
    },
    "judge.yaml": {
        "provider": "local",
        "model": "models/mine",
        "template": "inputs/template.yaml",
        "verdict": "text",
        "temperature": 0.5,
        "repeats": 2,
    },
    "pipeline.yaml": {
        "base_policy": {"model": "models/mine"},
        "policy": {"method": "dpo", "lora": {}},
        "reward_model": {"lora": {}},
        "evaluation": {"best_of": 4},
    },
    "template.yaml": {
        "messages": [{"role": "user", "content": MESSAGE + "{{ first }} {{ second }} Verdict:"}],
        "verdicts": {"first": "A", "second": "B", "tie": "C"},
        "verdict_line": "Verdict:",
    },
    "prompts.jsonl": {"prompt": "What is a kettle?", "category": "fact"},
    "release.yaml": {},
    "overrides.yaml": {},
}
RATED = {
    "messages": [{"role": "user", "content": MESSAGE + "{{ answer }} Rating:"}],
    "ratings": {"lowest": 1, "highest": 10},
}
OPENAI = {
    "provider": "openai",
    "model": "some-model",
    "base_url": "http://localhost:1/v1",
    "price": {"input_per_million": 1.0, "output_per_million": 2.0},
}
PROJECTS: Final[Mapping[str, dict[str, Any]]] = {
    "sampled": SAMPLED,
    "hub": SAMPLED
    | {
        "judge.yaml": {"provider": "local", "model": "org/judge", "revision": COMMIT},
        "pipeline.yaml": {
            "base_policy": {"model": "org/policy", "revision": COMMIT},
            "reward_model": {"base": "org/reward", "revision": COMMIT},
            "policy": {"method": "dpo", "loss": "robust", "label_smoothing": 0.1},
            "launch": {"num_processes": 2, "config_file": "inputs/verdicts.jsonl"},
        },
        "release.yaml": {"hold": {"release": DIGEST, "reason": "rude"}},
        "overrides.yaml": {
            "overrides": [{"asset": "judgements", "digest": DIGEST, "check": "coverage", "reason": "fine"}]
        },
    },
    "rated": SAMPLED | {"judge.yaml": OPENAI | {"template": "inputs/template.yaml"}, "template.yaml": RATED},
    "planted": SAMPLED
    | {
        "judge.yaml": {"provider": "planted"},
        "pipeline.yaml": {
            "base_policy": {"model": "models/mine"},
            "policy": {"method": "rloo"},
            "rounds": 2,
        },
    },
    "rounds": SAMPLED
    | {"pipeline.yaml": {"base_policy": {"model": "models/mine"}, "rounds": 2, "plateau": {}}},
    "revised": SAMPLED
    | {
        "pipeline.yaml": {
            "base_policy": {"model": "models/mine"},
            "revision": {"critic": OPENAI | {"verdict": "text"}, "training": {"lora": {}}},
        }
    },
    "jury": SAMPLED
    | {
        "judge.yaml": {"provider": "jury", "judges": [{"provider": "planted"}, OPENAI | {"name": "other"}]},
        "pipeline.yaml": {"base_policy": {"model": "models/mine"}, "policy": {"method": "best_of_n"}},
    },
    "recorded": SAMPLED
    | {
        "judge.yaml": {"provider": "recorded", "verdicts": "inputs/verdicts.jsonl", "name": "example-judge"},
        "pipeline.yaml": {
            "base_policy": {"model": "models/mine"},
            "sampling": {"provider": "recorded", "responses": "inputs/responses.jsonl"},
        },
    },
    "independent": SAMPLED
    | {
        "judge.yaml": {"provider": "local", "model": "models/mine", "human_labels": "inputs/other.jsonl"},
        "pipeline.yaml": {
            "base_policy": {"model": "models/mine"},
            "evaluation": {
                "judge": OPENAI | {"name": "independent"},
                "judge_checkpoints": True,
                "ground_truth": None,
            },
        },
    },
    "online": SAMPLED
    | {
        "judge.yaml": {"provider": "planted", "human_labels": "inputs/other.jsonl"},
        "pipeline.yaml": {
            "base_policy": {"model": "models/mine"},
            "policy": {"method": "grpo", "reference": "base"},
            "launch": {"num_processes": 2},
            "evaluation": {"confidence": 0.9, "no_regression": ["kind"]},
            "release": {"require": ["no_regression"]},
            "rounds": 3,
        },
    },
    "few recorded": SAMPLED
    | {
        "judge.yaml": {
            "provider": "recorded",
            "verdicts": "inputs/verdicts.jsonl",
            "name": "example-judge",
            "gates": {"min_coverage": 0.5},
        },
        "pipeline.yaml": {
            "base_policy": {"model": "models/mine"},
            "sampling": {"provider": "recorded", "responses": "inputs/other.jsonl"},
        },
    },
    "local jury": SAMPLED
    | {
        "judge.yaml": {
            "provider": "jury",
            "combine": "majority",
            "human_labels": "inputs/other.jsonl",
            "judges": [{"provider": "local", "model": "models/mine"}, {"provider": "planted"}],
        },
        "pipeline.yaml": {
            "base_policy": {"model": "models/mine"},
            "revision": {"critic": {"provider": "local", "model": "models/mine", "verdict": "text"}},
            "evaluation": {
                "judge": {"provider": "local", "model": "models/other", "name": "independent"},
                "ground_truth": "embedded_world",
            },
            "preferences": {"human_weight": 0.5},
            "sampling": {"provider": "local", "temperature": 0.5},
            "seed": 5,
            "numerics": {"num_threads": 2},
            "execution": {"sampling_batch_size": 7, "judging_batch_size": 7, "restart_steps": 7},
        },
    },
}
"""Between them these use every field; a field is flipped in the first that has it."""

SPEED = "how much is done at once; no part of what is done"
ELSEWHERE = "where, how fast and at what price a judge is asked; no part of what it is"
DECISION = "a decision about a failed check or a release, and why: recorded, and no part of what is made"
WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    "ExecutionSettings.sampling_batch_size": SPEED,
    "ExecutionSettings.judging_batch_size": SPEED,
    "ExecutionSettings.restart_steps": "where a killed training goes on; no part of what it learns",
    **{f"Override.{name}": DECISION for name in ("asset", "digest", "check", "reason")},
    "HoldSettings.reason": DECISION,
    **{
        f"AutomationSettings.{name}": "when Dagster looks"
        for name in ("cron", "canary_cron", "interval_seconds")
    },
    **{f"OpenAIJudgeSettings.{name}": ELSEWHERE for name in ("api_key_env", "max_tokens_name")},
    **{f"LimitSettings.{name}": ELSEWHERE for name in ("concurrency", "requests_per_minute")},
    **{
        f"LimitSettings.{name}": ELSEWHERE
        for name in ("tokens_per_minute", "timeout_seconds", "max_attempts", "retry_unparsed")
    },
    **{f"BudgetSettings.{name}": ELSEWHERE for name in ("calls", "tokens", "cost")},
    **{
        f"PriceSettings.{name}": ELSEWHERE for name in ("input_per_million", "output_per_million", "currency")
    },
}
"""Fields whose change makes nothing stale, and why."""

ONLY_IN: Final = {"PlateauSettings": "rounds", "DpoSettings.reference": "rounds"}
"""Sections and fields that every project has, and that count in one."""

NAMES: Final[Mapping[str, Any]] = {
    "PromptsSettings.file": "inputs/other.jsonl",
    "ModelSettings.model": "models/other",
    "ModelSettings.revision": OTHER_COMMIT,
    "RewardModelSettings.base": "models/other",
    "RewardModelSettings.revision": OTHER_COMMIT,
    "LocalJudgeSettings.model": "models/other",
    "LocalJudgeSettings.revision": OTHER_COMMIT,
    "LocalJudgeSettings.template": "compact",
    "OpenAIJudgeSettings.template": "compact",
    "PlantedJudgeSettings.template": "compact",
    "RecordedJudgeSettings.verdicts": "inputs/other.jsonl",
    "RecordedSamplingSettings.responses": "inputs/other.jsonl",
    "LocalSamplingSettings.server_command": ["serve", "{model}", "{port}"],
    **{
        f"{judge}Settings.human_labels": "inputs/other.jsonl"
        for judge in ("LocalJudge", "OpenAIJudge", "PlantedJudge", "RecordedJudge", "Jury")
    },
    **{
        f"GateSettings.{name}": 0.5
        for name in (
            "max_unparsed_rate",
            "min_ground_truth_agreement",
            "min_human_agreement",
            "max_injection_success",
        )
    },
    "OnlineSettings.num_generations": 2,
    "OnlineSettings.batch_size": 8,
    "LaunchSettings.config_file": "inputs/other.jsonl",
    "ReleaseSettings.require": [],
    "EvaluationSettings.no_regression": ["fact"],
    "EvaluationSettings.unsafe_categories": ["fact"],
    "AutomationSettings.cron": "30 4 * * *",
    "AutomationSettings.canary_cron": "30 4 * * *",
    "OpenAIJudgeSettings.extra_body": {"top_k": 1},
    "_TemplateFile.verdict_line": "Verdict",
    "RevisionSettings.critique_template": "inputs/critique.yaml",
    "RevisionSettings.revision_template": "inputs/revision.yaml",
    "HoldSettings.release": OTHER_DIGEST,
    "Override.digest": OTHER_DIGEST,
}
"""Other values for fields whose text has to name something, or whose number has a narrow range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A field of a file: where it stands, and what it holds."""

    file: str
    path: tuple[str | int, ...]
    field: str
    annotation: Any
    value: Any


def walk_fields(file: str, model: Any, path: tuple[str | int, ...] = ()) -> Iterator[Place]:
    """Yields every field of a model and of all models in it."""
    if isinstance(model, RootModel):
        yield from walk_fields(file, model.root, path)
    elif isinstance(model, list):
        for place, member in enumerate(model):
            yield from walk_fields(file, member, (*path, place))
    elif isinstance(model, BaseModel):
        for name, info in type(model).model_fields.items():
            value = getattr(model, name)
            yield Place(
                file=file,
                path=(*path, name),
                field=f"{type(model).__name__}.{name}",
                annotation=info.annotation,
                value=value,
            )
            yield from walk_fields(file, value, (*path, name))


def propose_values(place: Place) -> Iterator[Any]:
    """Yields other values for a field, whether they are allowed there or not."""
    if place.field in NAMES:
        yield NAMES[place.field]
        return
    value = place.value
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value - 1, value * 1.5, value / 2, (value + 1) / 2)
    for kind in list_kinds(place.annotation):
        if get_origin(kind) is Literal:
            yield from (word for word in get_args(kind) if word != value)
        elif kind is str:
            yield f"{value}x"
        elif kind in (int, float) and value is None:
            yield kind(3)


def list_kinds(annotation: Any) -> list[Any]:
    """The types that an annotation allows."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for member in get_args(annotation) for kind in list_kinds(member)]
    return [annotation]


def list_members(annotation: Any) -> Iterator[type]:
    """The classes that an annotation is made of."""
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for member in get_args(annotation):
        yield from list_members(member)


def read_model(project: str, file: str) -> BaseModel:
    return SCHEMAS[file].model_validate(PROJECTS[project][file])


def find_flip(project: str, place: Place) -> dict[str, Any] | None:
    """The file's content with another value of a field; None where this project allows no other."""
    for new in propose_values(place):
        content = read_model(project, place.file).model_dump(mode="json")
        set_value(content, place.path, new)
        try:
            flipped = SCHEMAS[place.file].model_validate(content)
        except ValidationError:
            continue
        if flipped != read_model(project, place.file):
            return content
    return None


def set_value(value: Any, path: tuple[str | int, ...], new: Any) -> None:
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = new


def has_choice(place: Place) -> bool:
    """Whether there is another value: a name of a kind, such as `provider: local`, has none.

    A value that is made of fields is flipped field by field.
    """
    kinds = [kind for kind in list_kinds(place.annotation) if kind is not types.NoneType]
    if get_origin(kinds[0]) is Literal:
        return len(kinds) > 1 or len(get_args(kinds[0])) > 1
    return not any(issubclass(kind, BaseModel) for kind in kinds if isinstance(kind, type)) and not (
        isinstance(place.value, list) and place.value and isinstance(place.value[0], BaseModel)
    )


def list_cases() -> Iterator[tuple[str, Place, dict[str, Any]]]:
    """Each field once: in the first project that allows another value, and that sets it if one does."""
    places = [
        (project, place)
        for project in PROJECTS
        for file in SCHEMAS
        for place in walk_fields(file, read_model(project, file))
        if has_choice(place)
        and ONLY_IN.get(place.field, ONLY_IN.get(place.field.partition(".")[0], project)) == project
    ]
    places.sort(key=lambda item: item[1].value is None)
    seen: set[str] = set()
    for project, place in places:
        content = None if place.field in seen else find_flip(project, place)
        if content is not None:
            seen.add(place.field)
            yield project, place, content


CASES = list(list_cases())


def write_files(folder: Path, files: Mapping[str, Any]) -> None:
    for file, value in files.items():
        text = json.dumps(value) + "\n" if file.endswith(".jsonl") else yaml.safe_dump(value)
        if file == "prompts.jsonl":
            text += "".join(json.dumps({"prompt": f"What is {n} + {n}?"}) + "\n" for n in range(20))
        (folder / "inputs" / file).write_text(text)


def write_project(folder: Path, name: str) -> None:
    """Writes the inputs of a project, and what they name."""
    shutil.copytree(REPOSITORY / "examples" / "recorded" / "inputs", folder / "inputs")
    for kind in ("critique", "revision"):
        words = (PACKAGED_TEMPLATES / f"{kind}.yaml").read_text().replace("Write", "Do write")
        (folder / "inputs" / f"{kind}.yaml").write_text(words.replace("What is", "What exactly is"))
    (folder / "inputs" / "other.jsonl").write_text('{"prompt": "Something else?"}\n')
    for model in ("mine", "other"):
        (folder / "models" / model).mkdir(parents=True)
        for file in ("config.json", "tokenizer.json", "model.safetensors"):
            (folder / "models" / model / file).write_text(json.dumps(model))
    write_files(folder, PROJECTS[name])
