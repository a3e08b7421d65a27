"""`python -m tests.code_versions STAGE|all [--reason TEXT]`: acknowledges changed code, and keeps the reason."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.code_versions.record import FOLDER, Acknowledged, Change, acknowledge
from tests.code_versions.stages import StageCode, read_stages


def main(words: Sequence[str], stages: Mapping[str, StageCode], folder: Path = FOLDER) -> int:
    """Acknowledges the change of one stage, or of every stage that changed; the exit code is 1 without a reason."""
    parser = argparse.ArgumentParser(prog="python -m tests.code_versions", description=__doc__)
    parser.add_argument("stage", choices=[*stages, "all"], metavar="STAGE|all")
    parser.add_argument("--reason", default="", help="why the same inputs still give the same bytes")
    arguments = parser.parse_args(words)
    chosen = list(stages) if arguments.stage == "all" else [arguments.stage]
    changes = {name: Change.between(Acknowledged.read(name, folder).code, stages[name]) for name in chosen}
    missing = []
    for name in [name for name in chosen if changes[name]]:
        reason = acknowledge(name, stages[name], arguments.reason, folder)
        if not reason:
            missing.append(name)
        sys.stdout.write(f"{name}: {reason or 'not acknowledged'}\n{changes[name]}\n\n")
    if not any(changes.values()):
        sys.stdout.write("nothing changed\n")
    if missing:
        sys.stderr.write(
            f"{', '.join(missing)}: say with --reason why the same inputs still give the same bytes, "
            "or raise `code_version`\n"
        )
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], read_stages()))
