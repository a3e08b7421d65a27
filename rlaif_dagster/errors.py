"""The error tree.

    RlaifError
    ├── InputError        a file that a person edits (or names) is wrong: exit code 2, nothing changed
    │   └── MissingPlugInError   it names a plug-in that no installed distribution offers
    ├── PlugInError       a plug-in is not installed, or cannot be used
    ├── ModelError        a model folder or hub id cannot be opened or used as asked
    ├── JudgeError        a judge cannot give verdicts at all (a single failed verdict is a row, not an error)
    │   └── BudgetError   the judge's budget is used up; its answers are kept
    ├── TrainingError     training diverged or had nothing to learn from
    ├── StorageError      the store cannot be read or written (disk full, permissions, missing version)
    │   └── CorruptVersionError   stored bytes do not hash to the recorded digest
    ├── LedgerError       the lineage ledger is damaged or contradicts itself
    ├── SignatureError    a signature cannot be made, or is not valid
    ├── MissingExtraError a library of an extra is not installed
    └── StageError        a stage cannot start
        ├── MissingInputError   an upstream asset has never been materialised
        └── GateError           an upstream asset failed a blocking check

Every message names the subject, what was found, the rule, and the remedy.
"""

from pathlib import Path


class RlaifError(Exception):
    """Anything that this package raises on purpose."""


class InputError(RlaifError):
    """A file that a person edits is wrong.

    Attributes:
        file: The file at fault.
        line: The 1-based line at fault, if known.
        field: The dotted path of the field at fault, if known.
        remedy: What to do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: Path,
        remedy: str,
        line: int | None = None,
        field: str | None = None,
    ) -> None:
        self.problem = problem
        self.file = file
        self.line = line
        self.field = field
        self.remedy = remedy
        place = str(file) if line is None else f"{file}, line {line}"
        if field:
            place += f", field '{field}'"
        super().__init__(f"{place}: {problem}\n  remedy: {remedy}")


class MissingPlugInError(InputError):
    """An input file names a plug-in that no installed distribution offers.

    Attributes:
        field_name: The field that names it, such as `provider`.
        name: The plug-in's name.
    """

    def __init__(
        self, problem: str, *, file: Path, remedy: str, line: int | None, field: str, name: str
    ) -> None:
        super().__init__(problem, file=file, remedy=remedy, line=line, field=field)
        self.field_name = field.rpartition(".")[2]
        self.name = name

    def with_remedy(self, remedy: str) -> "MissingPlugInError":
        """The same error with another remedy."""
        return MissingPlugInError(
            self.problem, file=self.file, remedy=remedy, line=self.line, field=str(self.field), name=self.name
        )


class PlugInError(RlaifError):
    """A plug-in is not installed, or cannot be used.

    Attributes:
        problem: What is wrong.
        remedy: What to do about it.
    """

    def __init__(self, problem: str, *, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}\n  remedy: {remedy}")


class ModelError(RlaifError):
    """A model folder or hub id cannot be opened or used as asked."""


class JudgeError(RlaifError):
    """A judge cannot give verdicts at all."""


class BudgetError(JudgeError):
    """A judge's budget is used up. Its answers are kept, and the next run continues from there."""


class TrainingError(RlaifError):
    """Training diverged or had nothing to learn from."""


class StorageError(RlaifError):
    """The version store cannot be read or written."""


class CorruptVersionError(StorageError):
    """Stored bytes do not hash to the recorded digest; the evidence is left in place."""


class LedgerError(RlaifError):
    """The lineage ledger is damaged or contradicts itself."""


class SignatureError(RlaifError):
    """A signature cannot be made, or is not valid."""


class MissingExtraError(RlaifError):
    """A library of an extra is not installed."""


class StageError(RlaifError):
    """A stage cannot start."""


class MissingInputError(StageError):
    """An upstream asset has never been materialised."""


class GateError(StageError):
    """An upstream asset failed a blocking check, so nothing may be built on it."""
