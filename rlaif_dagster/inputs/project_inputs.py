"""Reads all input files of a project together."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import RootModel

from rlaif_dagster.digest import Digest, JsonValue
from rlaif_dagster.errors import InputError
from rlaif_dagster.inputs.overrides import Override, read_overrides
from rlaif_dagster.inputs.pipeline import PipelineSettings
from rlaif_dagster.inputs.release import Hold
from rlaif_dagster.judging.constitution import Constitution, ConstitutionSettings
from rlaif_dagster.judging.opening import describe_judge
from rlaif_dagster.judging.settings import AnyJudge, AskedJudgeSettings, JudgeSettings, name_judge
from rlaif_dagster.judging.templates import Template, load_template
from rlaif_dagster.models import ModelSource, find_model
from rlaif_dagster.names import BASE_POLICY, SUPERVISED_POLICY
from rlaif_dagster.prompts import PromptLine, read_prompt_lines
from rlaif_dagster.reader import read_yaml, resolve_inside
from rlaif_dagster.revising.settings import RevisionSettings

CONSTITUTION_FILE: Final = "inputs/constitution.yaml"
JUDGE_FILE: Final = "inputs/judge.yaml"
PIPELINE_FILE: Final = "inputs/pipeline.yaml"


class JudgeFile(RootModel[AnyJudge]):
    """`inputs/judge.yaml`: the fields of one judge, at the top level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFile:
    """A file of recorded rows, and the digest of its bytes when the inputs were read."""

    path: Path
    digest: Digest

    @classmethod
    def find(cls, root: Path, relative: str, *, file: Path, field: str) -> "RecordedFile":
        """Finds a recorded file that an input file names.

        Raises:
            InputError: If it is missing or outside the project.
        """
        path = resolve_inside(root, relative, file=file, field=field)
        if not path.is_file():
            raise InputError(
                f"the file {relative!r} does not exist",
                file=file,
                field=field,
                remedy="correct the path (relative to the project), or put the file there",
            )
        return cls(path=path, digest=Digest.from_file(path))

    def require_unchanged(self) -> None:
        """Refuses a file that has changed since the inputs were read.

        Raises:
            InputError: If its bytes have changed.
        """
        if Digest.from_file(self.path) != self.digest:
            raise InputError(
                "the file changed while the run was reading it", file=self.path, remedy="run again"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSource:
    """A judge that is asked, with its prompt and model.

    Attributes:
        settings: Its settings.
        template: Its prompt.
        model: Where the model comes from that it names, or None if it names none.
    """

    settings: AskedJudgeSettings
    template: Template
    model: ModelSource | None

    def describe(self) -> dict[str, JsonValue]:
        """The content of `judge.json` about it; its model is described separately."""
        return describe_judge(self.settings, self.template)

    @classmethod
    def find(cls, root: Path, settings: AskedJudgeSettings, *, file: Path, section: str) -> "JudgeSource":
        """Finds the template and model that a judge's settings name.

        Raises:
            InputError: If one does not exist.
        """
        named, model = settings.named_model, None
        if named is not None:
            model = find_model(root, named.model, named.revision, file=file, field=f"{section}model")
        template = load_template(settings.template, root)
        try:
            settings.check_template(template)
        except ValueError as error:
            problem, _, remedy = str(error).partition("; remedy: ")
            raise InputError(
                problem, file=file, field=f"{section}template", remedy=remedy or "name another template"
            ) from error
        if template.verdict_line is not None and settings.reading == "logprob":
            raise InputError(
                f"verdicts are read from the next token, but the template {settings.template!r} asks for reasons first",
                file=file,
                field=f"{section}verdict",
                remedy="set verdict to text, or name a template without a verdict_line, such as pairwise",
            )
        return cls(settings=settings, template=template, model=model)


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticSource:
    """The critic that criticises and revises answers, with its prompts and model.

    Attributes:
        settings: Its settings.
        critique: The prompt for a critique.
        revision: The prompt for a revision.
        model: Where the model comes from that it names; None if it names none, or the base policy.
    """

    settings: AskedJudgeSettings
    critique: Template
    revision: Template
    model: ModelSource | None

    @classmethod
    def find(cls, root: Path, settings: RevisionSettings, *, file: Path) -> "CriticSource":
        """Finds the templates and model that the `revision` section names.

        Raises:
            InputError: If one does not exist.
        """
        critic, model = settings.critic, None
        named = critic.named_model
        if named is not None and named.model != BASE_POLICY:
            model = find_model(root, named.model, named.revision, file=file, field="revision.critic.model")
        return cls(
            settings=critic,
            critique=load_template(settings.critique_template, root, forms=("critique",)),
            revision=load_template(settings.revision_template, root, forms=("revision",)),
            model=model,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectInputs:
    """The content of the input files.

    Attributes:
        pipeline: `inputs/pipeline.yaml`.
        constitution: `inputs/constitution.yaml`, principles sorted by id.
        judge: `inputs/judge.yaml`.
        judges: The judges that are asked: a jury's, the one judge, or none for recorded verdicts.
        verdicts: The verdicts of a recorded judge, else None.
        human_labels: Labels by people, or None if there are none.
        prompt_lines: The lines of the prompts file.
        base_policy: Where the base policy comes from.
        reward_model_base: What the reward model starts from, or None for the base policy.
        responses: The recorded responses, or None if they are sampled.
        hold: `inputs/release.yaml`: the held release, if there is one.
        overrides: `inputs/overrides.yaml`: failed checks that a person lets pass.
        critic: The critic of answers, or None without revision.
        evaluation_judge: The independent judge of the evaluation, or None.
        launch_config: accelerate's config file for training in several processes, if there is one.
    """

    pipeline: PipelineSettings
    constitution: Constitution
    judge: JudgeSettings
    judges: tuple[JudgeSource, ...]
    verdicts: RecordedFile | None
    human_labels: RecordedFile | None
    prompt_lines: tuple[PromptLine, ...]
    base_policy: ModelSource
    reward_model_base: ModelSource | None
    responses: RecordedFile | None
    hold: Hold
    overrides: tuple[Override, ...]
    critic: CriticSource | None
    evaluation_judge: JudgeSource | None
    launch_config: RecordedFile | None

    @property
    def first_policy(self) -> str:
        """The asset that answers are sampled from and that alignment starts at."""
        return BASE_POLICY if self.critic is None else SUPERVISED_POLICY

    @property
    def compares_judge_with_policy(self) -> bool:
        """Whether the judge's audit compares the judge with the policy that it judges."""
        return self.judge.gates.stronger_than_policy or self.pipeline.rounds > 1

    @classmethod
    def read(cls, root: Path) -> "ProjectInputs":
        """Reads the input files of a project.

        Raises:
            InputError: If one is missing or wrong.
        """
        pipeline_file = root / PIPELINE_FILE
        judge_file = root / JUDGE_FILE
        pipeline = read_yaml(pipeline_file, PipelineSettings)
        constitution = read_yaml(root / CONSTITUTION_FILE, ConstitutionSettings)
        judge = read_yaml(judge_file, JudgeFile).root
        members, verdicts_file = judge.members, judge.verdicts_file
        sampling = pipeline.sampling
        if pipeline.reward_model.base == BASE_POLICY and pipeline.reward_model.revision is not None:
            raise InputError(
                "the reward model starts from the base policy, which has its own revision",
                file=pipeline_file,
                field="reward_model.revision",
                remedy="remove it, or set base_policy.revision",
            )
        prompt_lines = read_prompt_lines(
            resolve_inside(root, pipeline.prompts.file, file=pipeline_file, field="prompts.file")
        )
        _require_known_groups(
            pipeline.evaluation.no_regression, constitution, prompt_lines, file=pipeline_file
        )
        if pipeline.rounds > 1 and (sampling.recorded_file is not None or verdicts_file is not None):
            raise InputError(
                f"there are {pipeline.rounds} rounds, but there are no recorded responses or verdicts for the policy "
                "of a later round",
                file=pipeline_file,
                field="rounds",
                remedy="set rounds to 1, or sample the policy and ask a judge",
            )
        return cls(
            pipeline=pipeline,
            constitution=Constitution.from_settings(constitution),
            judge=judge,
            judges=tuple(
                JudgeSource.find(
                    root, member, file=judge_file, section=f"judges[{place}]." if len(members) > 1 else ""
                )
                for place, member in enumerate(members)
            ),
            verdicts=None
            if verdicts_file is None
            else RecordedFile.find(root, verdicts_file, file=judge_file, field="verdicts"),
            human_labels=None
            if judge.human_labels is None
            else RecordedFile.find(root, judge.human_labels, file=judge_file, field="human_labels"),
            prompt_lines=prompt_lines,
            base_policy=find_model(
                root,
                pipeline.base_policy.model,
                pipeline.base_policy.revision,
                file=pipeline_file,
                field="base_policy.model",
            ),
            reward_model_base=None
            if pipeline.reward_model.base == BASE_POLICY
            else find_model(
                root,
                pipeline.reward_model.base,
                pipeline.reward_model.revision,
                file=pipeline_file,
                field="reward_model.base",
            ),
            responses=RecordedFile.find(
                root, sampling.recorded_file, file=pipeline_file, field="sampling.responses"
            )
            if sampling.recorded_file is not None
            else None,
            hold=Hold.read(root),
            overrides=read_overrides(root),
            critic=CriticSource.find(root, pipeline.revision, file=pipeline_file)
            if pipeline.revision
            else None,
            launch_config=RecordedFile.find(
                root, pipeline.launch.config_file, file=pipeline_file, field="launch.config_file"
            )
            if pipeline.launch.config_file
            else None,
            evaluation_judge=_find_evaluation_judge(root, pipeline, judge, file=pipeline_file),
        )


def _find_evaluation_judge(
    root: Path, pipeline: PipelineSettings, judge: JudgeSettings, *, file: Path
) -> JudgeSource | None:
    settings = pipeline.evaluation.judge
    if settings is None:
        return None
    name = name_judge(settings)
    if name in {name_judge(member) for member in judge.members}:
        raise InputError(
            f"the independent judge has the same name as the judge that labels the training data, {name!r}",
            file=file,
            field="evaluation.judge",
            remedy="use another model, or remove it; if it is another judge, set a different `name`",
        )
    return JudgeSource.find(root, settings, file=file, section="evaluation.judge.")


def _require_known_groups(
    names: Iterable[str], constitution: ConstitutionSettings, prompts: Iterable[PromptLine], *, file: Path
) -> None:
    known = {principle.id for principle in constitution.principles} | {line.category for line in prompts}
    for name in names:
        if name not in known:
            raise InputError(
                f"{name!r} is neither a principle of the constitution nor a category of prompts",
                file=file,
                field="evaluation.no_regression",
                remedy=f"name any of {', '.join(sorted(filter(None, known)))}, or none",
            )
