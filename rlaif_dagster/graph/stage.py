"""A stage: how one asset is computed from its inputs and its spec, and from nothing else."""

import re
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
    """What a stage's function receives.

    Attributes:
        inputs: For each input asset a folder to read; its files are verified and read-only.
        digests: The content digest of each input.
        output: An empty folder; its content becomes the asset's new version.
        scratch: A folder for temporary files.
        journal: A folder of this asset that survives a crash: what is in it saves the next try some work. Other
            processes may use it at the same time.
        attempt: Names this computation; see `mark_landed`.
        services: The services of the process that runs it.
        preview: If True, only a plan reads the output: large files may be links.
        names: The assets behind the names that the stage uses for itself and its inputs, if they differ.
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
    """What a stage reports besides the files that it wrote.

    Attributes:
        rows: Rows of the main table, or None for a model.
        counts: Work done and rows dropped, by name.
        metrics: Figures of the result, by name.
        notes: Further facts for the record that are not on the version's card.
        num_open: Rows without a result that another try may obtain; while there are any, the next run tries again.
        num_unparsed: Rows without a result whose next try would cost again, by the judge that was asked; tried again
            only if the stage asks for it.
    """

    rows: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, JsonValue] = field(default_factory=dict)
    notes: Mapping[str, JsonValue] = field(default_factory=dict)
    num_open: int = 0
    num_unparsed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Whether a check passed, and the figures that decided it."""

    passed: bool
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check of a stage's output, made before anything may be built on it.

    Attributes:
        blocking: If True, no stage accepts a version that failed this check as an input.
        run: Makes the check, given (output folder, input folders).
        required: The threshold that the settings ask for, "nothing" if they ask for nothing; None if no setting
            decides. It is recorded with each result, and is part of the recipe of a stage that writes the result into
            its output.
    """

    name: str
    description: str
    blocking: bool
    run: Callable[[Path, Mapping[str, Path]], CheckResult]
    required: JsonValue = None

    def ask(self, output: Path, inputs: Mapping[str, Path]) -> CheckResult:
        """Makes the check, and adds what was required to the facts. A file that is missing fails it."""
        try:
            result = self.run(output, inputs)
        except FileNotFoundError as error:
            result = CheckResult(passed=False, facts={"missing": _name_missing(error, output)})
        if self.required is None:
            return result
        return replace(result, facts={"required": self.required, **result.facts})


def _name_missing(error: FileNotFoundError, output: Path) -> str:
    """Names the file, without its folder; the errors of pyarrow have it in their message only."""
    found = re.search(rf"{re.escape(str(output))}/([^'\s]+)", str(error))
    return found[1] if found else "a file"


def _is_never_idle(opened: Mapping[str, Path]) -> bool:
    del opened
    return False


def _confirm() -> None:
    """Does nothing: no decision depends on a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What decides an asset's content. Together with the digests of the inputs, this is the recipe.

    Attributes:
        name: The asset's name and its folder in `data/`.
        code_version: Raised by hand when the same inputs would give other bytes.
        inputs: Names of the assets it reads.
        spec: Everything that `compute` sees besides its context; see `graph.specs`.
        engine: Distributions whose versions are part of the recipe.
        settings: The spec's identity fields, as in the recipe.
    """

    name: str
    code_version: str
    inputs: tuple[str, ...]
    spec: Any
    engine: tuple[str, ...] = ()
    settings: JsonValue = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Derives the settings once, because many prompts make this slow."""
        object.__setattr__(self, "settings", derive_settings(self.spec))

    @property
    def numerics(self) -> NumericsSettings | None:
        """How numbers are computed, if a model runs."""
        return find_numerics(self.spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """How an asset is computed.

    Attributes:
        compute: Writes the output, from only its context and the stage's spec.
        kin: The assets, including itself, whose earlier versions have rows that it may reuse; only itself if empty.
        retries_unparsed: The judges whose rows that a version counts as `num_unparsed` are tried again.
        is_idle: Says, from the available input folders, whether the stage has nothing to do but to record this; then it
            is cheap.
        cheap: If True, it runs no model and loads nothing over the network, so a plan computes it to know what follows.
    """

    compute: Callable[[StageContext, Any], StageResult]
    kin: tuple[str, ...] = ()
    retries_unparsed: tuple[str, ...] = ()
    is_idle: Callable[[Mapping[str, Path]], bool] = _is_never_idle
    cheap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Governance:
    """Which checks an output and its inputs must pass, and what people decided.

    Attributes:
        checks: Checks of the output.
        requires: By input, the checks besides the blocking ones that it must have passed, with their `required`.
        overrides: Overrides of failed checks of this or other assets; not part of the recipe.
        reason: Why a person asks for this output, if it is not what the inputs alone would give. Such a stage also
            accepts inputs that failed checks, because nothing is built on them.
        confirm: Called before a version is recorded; raises if a person has decided otherwise since.
    """

    checks: tuple[Check, ...] = ()
    requires: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    reason: str | None = None
    confirm: Callable[[], None] = _confirm


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What plans and graph pictures show to people.

    Attributes:
        description: One or two sentences for people.
        kinds: Technologies, for the pictures of the graph.
        origins: Where the settings are in the input files: the path of each top-level name, `""` for all others.
        compare: Says what differs between two versions, if the settings contain only their digests.
        price: Computes its price; None if it neither samples nor asks a judge.
    """

    description: str = ""
    kinds: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=lambda: {"": f"{PIPELINE_FILE}:"})
    compare: Callable[[Path, Path], Iterator[Change]] | None = None
    price: Callable[[PriceContext], Price] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One asset, in four parts. A stage can be pickled, so it can be computed in another process."""

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
