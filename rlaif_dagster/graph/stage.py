"""A stage: how one asset is computed from its inputs and its spec, and from nothing else."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlaif_dagster.digest import Digest, JsonValue
from rlaif_dagster.graph.changes import Change
from rlaif_dagster.graph.price import Price, PriceContext
from rlaif_dagster.graph.services import Services
from rlaif_dagster.graph.specs import derive_settings, find_numerics
from rlaif_dagster.inputs.overrides import Override
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE
from rlaif_dagster.numerics import NumericsSettings


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
        services: What it may ask of the process that runs it.
        preview: If True, a plan only looks at the output: large files may be links.
        names: The assets by the names that the stage has for itself and for what it reads, where these are others.
    """

    inputs: Mapping[str, Path]
    digests: Mapping[str, Digest]
    output: Path
    scratch: Path
    journal: Path
    attempt: str
    services: Services
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
        num_unparsed: Rows without a result whose next try would be paid for again; made only if the stage asks for it.
    """

    rows: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, JsonValue] = field(default_factory=dict)
    notes: Mapping[str, JsonValue] = field(default_factory=dict)
    num_open: int = 0
    num_unparsed: int = 0


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


def _is_never_idle(opened: Mapping[str, Path]) -> bool:
    del opened
    return False


def _confirm() -> None:
    """Nobody decided anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What decides an asset's content: with the digests of the inputs, this is the recipe.

    Attributes:
        name: The asset's name and its folder in `data/`.
        code_version: Raised by hand when the same inputs would give other bytes.
        inputs: Names of the assets it reads.
        spec: All that `compute` sees beside its context; see `graph.specs`.
        engine: Distributions whose versions are part of the recipe.
        settings: The spec's identity, as the recipe states it.
    """

    name: str
    code_version: str
    inputs: tuple[str, ...]
    spec: Any
    engine: tuple[str, ...] = ()
    settings: JsonValue = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Derives the settings once: of many prompts they take a while."""
        object.__setattr__(self, "settings", derive_settings(self.spec))

    @property
    def numerics(self) -> NumericsSettings | None:
        """How numbers are computed, where a model runs."""
        return find_numerics(self.spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """How an asset is computed.

    Attributes:
        compute: Writes the output, from its context and the stage's spec alone.
        kin: The assets, itself among them, whose earlier versions have rows that it may reuse; itself alone if empty.
        retries_unparsed: If True, rows that a version counts as `num_unparsed` are tried again.
        is_idle: Says by the folders of its inputs, as far as they are at hand, whether there is nothing to do but to
            say so: it is cheap then.
        cheap: If True, it runs no model and loads nothing over the network, so that a plan computes it to know what
            follows from it.
    """

    compute: Callable[[StageContext, Any], StageResult]
    kin: tuple[str, ...] = ()
    retries_unparsed: bool = False
    is_idle: Callable[[Mapping[str, Path]], bool] = _is_never_idle
    cheap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Governance:
    """What an output and its inputs must pass, and what people decided.

    Attributes:
        checks: Questions put to the output.
        requires: Checks of an input that must have passed besides the blocking ones, by input: what each `required`.
        overrides: Failed checks, of this asset or others, that a person lets pass; not part of the recipe.
        reason: Why a person asks for this output, where it is not what the inputs alone would give. Such a stage takes
            inputs that failed checks as well, since nothing is built on them.
        confirm: Called before a version is recorded; raises if a person has decided otherwise in the meantime.
    """

    checks: tuple[Check, ...] = ()
    requires: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    reason: str | None = None
    confirm: Callable[[], None] = _confirm


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What plans and pictures tell people.

    Attributes:
        description: One or two sentences for people.
        kinds: Technologies, for the pictures of the graph.
        origins: Where a person finds the settings: the path of each top-level name, `""` for those not named.
        compare: Says what differs between two versions, where the settings know them by digest only.
        price: Reckons what computing it would spend; None if it neither samples nor asks a judge.
    """

    description: str = ""
    kinds: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=lambda: {"": f"{PIPELINE_FILE}:"})
    compare: Callable[[Path, Path], Iterator[Change]] | None = None
    price: Callable[[PriceContext], Price] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One asset, by four concerns. A stage can be pickled, and so can be computed in another process."""

    identity: Identity
    computing: Computing
    governance: Governance = Governance()
    planning: Planning = Planning()

    @property
    def name(self) -> str:
        """The asset's name."""
        return self.identity.name

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the assets it reads."""
        return self.identity.inputs

    def compute(self, context: StageContext) -> StageResult:
        """Writes the output."""
        return self.computing.compute(context, self.identity.spec)
