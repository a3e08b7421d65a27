"""What was acknowledged of a stage's code, in a file that people can review, and how the code differs from it now."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.code_versions.source import Key
from tests.code_versions.stages import PACKAGE, StageCode

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A stage's code when somebody last decided what its change means.

    Attributes:
        code: The code, as it was then.
        reason: Why it needed no other `code_version`, or how that was raised.
    """

    code: StageCode
    reason: str

    @classmethod
    def read(cls, stage: str, folder: Path = FOLDER) -> "Acknowledged":
        """Reads a stage's file; nothing is acknowledged where there is none, or one that git could not merge."""
        try:
            value: dict[str, Any] = json.loads((folder / f"{stage}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return cls(code=StageCode("", {}), reason="")
        definitions = {
            (module, name): digest
            for module, digests in value["definitions"].items()
            for name, digest in digests.items()
        }
        return cls(code=StageCode(value["code_version"], definitions), reason=value["acknowledged"])

    def write(self, stage: str, folder: Path = FOLDER) -> None:
        """Writes a stage's file, one definition a line."""
        modules: dict[str, dict[str, str]] = {}
        for (module, name), digest in sorted(self.code.definitions.items()):
            modules.setdefault(module, {})[name] = digest
        value = {
            "acknowledged": self.reason,
            "code_version": self.code.code_version,
            "definitions": modules,
        }
        text = json.dumps(value, indent=2, ensure_ascii=False)
        (folder / f"{stage}.json").write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How a stage's code differs from what was acknowledged; names are `module.definition`."""

    raised: str | None
    changed: tuple[str, ...]
    moved: tuple[str, ...]
    added: tuple[str, ...]
    gone: tuple[str, ...]

    @classmethod
    def between(cls, old: StageCode, new: StageCode) -> "Change":
        """Compares; a definition that is the same in another module now has moved."""
        added = {key: new.definitions[key] for key in new.definitions.keys() - old.definitions.keys()}
        gone = {key: old.definitions[key] for key in old.definitions.keys() - new.definitions.keys()}
        moved = {}
        for was in sorted(gone):
            same = [now for now in sorted(added) if now[1] == was[1] and added[now] == gone[was]]
            if same:
                moved[was] = same[0]
                del added[same[0]], gone[was]
        kept = old.definitions.keys() & new.definitions.keys()
        return cls(
            raised=f"code_version {old.code_version} to {new.code_version}"
            if old.code_version not in ("", new.code_version)
            else None,
            changed=tuple(_name(key) for key in sorted(kept) if old.definitions[key] != new.definitions[key]),
            moved=tuple(f"{_name(was)} to {_name(now)}" for was, now in sorted(moved.items())),
            added=tuple(_name(key) for key in sorted(added)),
            gone=tuple(_name(key) for key in sorted(gone)),
        )

    def __bool__(self) -> bool:
        return bool(self.raised or self.changed or self.moved or self.added or self.gone)

    def __str__(self) -> str:
        parts = {
            "changed": self.changed,
            "moved, the same": self.moved,
            "reached now": self.added,
            "no longer reached": self.gone,
        }
        lines = [self.raised] if self.raised else []
        return "\n".join(lines + [f"{what}: {', '.join(names)}" for what, names in parts.items() if names])

    @property
    def own_reason(self) -> str:
        """The reason that the change gives itself; empty where a person has to give one."""
        if self.raised:
            return self.raised
        return "" if self.changed or self.added or self.gone else f"moved, the same: {', '.join(self.moved)}"


def acknowledge(stage: str, code: StageCode, reason: str, folder: Path = FOLDER) -> str:
    """Writes down a stage's code as it is now.

    Returns:
        The reason that was kept; empty if nothing was written, because nothing changed or a reason is missing.
    """
    change = Change.between(Acknowledged.read(stage, folder).code, code)
    kept = "; ".join(filter(None, (change.raised, reason.strip()))) or change.own_reason
    if not change or not kept:
        return ""
    Acknowledged(code=code, reason=kept).write(stage, folder)
    return kept


def _name(key: Key) -> str:
    module, name = key
    return f"{module.removeprefix(f'{PACKAGE}.')}{'' if module.endswith('/') else '.'}{name}"
