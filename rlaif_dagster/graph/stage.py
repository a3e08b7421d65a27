"""A stage: how one asset is computed from its inputs, its settings and its seed, and from nothing else."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rlaif_dagster.digest import Digest, JsonValue
from rlaif_dagster.graph.budgets import Budgets
from rlaif_dagster.graph.changes import Change
from rlaif_dagster.graph.price import Price, PriceContext
from rlaif_dagster.inputs.overrides import Override
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """What a stage's function is given.

    Attributes:
        inputs: For each input asset a folder to read; its files are verified and read-only.
        digests: The content digest of each input.
        output: An empty folder; what is in it afterwards is the asset's new version.
        scratch: A folder for files that are of no use afterwards.
        journal: A folder of this asset's own that a crash leaves as it is: what is in it saves the next try some
            work. Others may use it at the same time.
        attempt: Names this computation; see `mark_landed`.
        earlier_versions: Yields folders of earlier versions of this asset made by the same code and libraries,
            newest first, for the reuse of single rows.
        recorded_version: Gives the folder of the version of this asset that has a digest.
        progress: Told how far the work is.
        budgets: What the run may spend on served judges, all of its assets together.
        preview: If True, a plan only looks at the output: large files may be links.
        names: The assets by the names that the stage has for itself and for what it reads, where these are others.
    """

    inputs: Mapping[str, Path]
    digests: Mapping[str, Digest]
    output: Path
    scratch: Path
    journal: Path
    attempt: str
    earlier_versions: Callable[[], Iterator[Path]]
    recorded_version: Callable[[Digest], Path]
    progress: Progress
    budgets: Budgets = field(default_factory=Budgets)
    preview: bool = False
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What a stage reports of itself, beside the files that it wrote.

    Attributes:
        rows: Rows of the main table, or None for a model.
        counts: Work done and rows dropped, by name.
        metrics: Figures of the result, by name.
        notes: What the record says beside the metrics, and the version's own card does not.
        num_open: Rows without a result that another try may get; as long as there are any, the next run tries again.
    """

    rows: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, JsonValue] = field(default_factory=dict)
    notes: Mapping[str, JsonValue] = field(default_factory=dict)
    num_open: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Whether a check passed, and the figures that decided it."""

    passed: bool
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A question put to a stage's output before anything may be built on it.

    Attributes:
        blocking: If True, no stage accepts a version as input on which this check failed.
        run: Reads (output folder, input folders) and answers.
        required: What settings ask of the output, "nothing" where they ask for nothing; None if no setting decides. It
            is recorded with each answer, and is part of the recipe of a stage that writes the answer into its output.
    """

    name: str
    description: str
    blocking: bool
    run: Callable[[Path, Mapping[str, Path]], CheckResult]
    required: JsonValue = None

    def ask(self, output: Path, inputs: Mapping[str, Path]) -> CheckResult:
        """Answers, and says among the facts what was required."""
        result = self.run(output, inputs)
        if self.required is None:
            return result
        return replace(result, facts={"required": self.required, **result.facts})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One asset: name, what it reads, what shapes it, and how it is computed.

    Attributes:
        name: The asset's name and its folder in `data/`.
        description: One or two sentences for people.
        kinds: Technologies, for the pictures of the graph.
        code_version: Raised by hand when the same inputs would give other bytes.
        inputs: Names of the assets it reads.
        settings: Everything that a person edits and that shapes the output; part of the recipe.
        engine: Distributions whose versions are part of the recipe.
        numerics: How numbers are computed, where a model runs; part of the recipe as well.
        compute: Writes the output.
        checks: Questions put to the output.
        rows_outlive_makers: If True, rows of earlier versions may be reused whatever code and libraries made them:
            their keys say all that matters.
        requires: Checks of an input that must have passed besides the blocking ones, by input: what each `required`.
        overrides: Failed checks, of this asset or others, that a person lets pass; not part of the recipe.
        reason: Why a person asks for this output, where it is not what the inputs alone would give. Such a stage takes
            inputs that failed checks as well, since nothing is built on them.
        confirm: Called before a version is recorded; raises if a person has decided otherwise in the meantime.
        origins: Where a person finds the settings: the path of each top-level name, `""` for those not named.
        cheap: If True, it runs no model and loads nothing over the network, so that a plan computes it to know what
            follows from it.
        is_idle: Says by the folders of its inputs, as far as they are at hand, whether there is nothing to do but to
            say so: it is cheap then.
        kin: The assets, itself among them, whose earlier versions have rows that it may reuse; itself alone if empty.
        compare: Says what differs between two versions, where the settings know them by digest only.
        price: Reckons what computing it would spend; None if it neither samples nor asks a judge.
    """

    name: str
    description: str
    kinds: tuple[str, ...]
    code_version: str
    inputs: tuple[str, ...]
    settings: JsonValue
    engine: tuple[str, ...]
    compute: Callable[[StageContext], StageResult]
    checks: tuple[Check, ...] = ()
    rows_outlive_makers: bool = False
    numerics: NumericsSettings | None = None
    requires: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    reason: str | None = None
    confirm: Callable[[], None] = lambda: None
    origins: Mapping[str, str] = field(default_factory=lambda: {"": f"{PIPELINE_FILE}:"})
    cheap: bool = False
    is_idle: Callable[[Mapping[str, Path]], bool] = lambda opened: False
    kin: tuple[str, ...] = ()
    compare: Callable[[Path, Path], Iterator[Change]] | None = None
    price: Callable[[PriceContext], Price] | None = None
