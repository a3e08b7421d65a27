"""Checks whether the name of a recorded file agrees with its rows."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from rlaif_dagster.errors import InputError
from rlaif_dagster.inputs.pipeline import PipelineSettings
from rlaif_dagster.inputs.project_inputs import JUDGE_FILE, PIPELINE_FILE, JudgeFile
from rlaif_dagster.judging.model_names import find_contradictions
from rlaif_dagster.lineage.auditing.findings import Finding
from rlaif_dagster.reader import read_yaml, resolve_inside


def check_recorded_files(root: Path, skip: Callable[[str], None]) -> Iterator[Finding]:
    """Yields recorded files whose names mention another model than their rows.

    Args:
        root: The project.
        skip: Told what could not be looked at, and why.
    """
    for check, what in ((_check_verdicts, "verdicts"), (_check_responses, "responses")):
        try:
            yield from check(root)
        except InputError as error:
            skip(f"the names of recorded files ({what}): {error.file}: {error.problem}")


def _check_verdicts(root: Path) -> Iterator[Finding]:
    if (root / JUDGE_FILE).is_file():
        judge = read_yaml(root / JUDGE_FILE, JudgeFile).root
        if judge.verdicts_file is not None:
            yield from _check_file(root, judge.verdicts_file, "verdicts", "judge", root / JUDGE_FILE)


def _check_responses(root: Path) -> Iterator[Finding]:
    if (root / PIPELINE_FILE).is_file():
        sampling = read_yaml(root / PIPELINE_FILE, PipelineSettings).sampling
        if sampling.recorded_file is not None:
            yield from _check_file(
                root, sampling.recorded_file, "sampling.responses", "source", root / PIPELINE_FILE
            )


def _check_file(root: Path, relative: str, field: str, column: str, named_in: Path) -> Iterator[Finding]:
    path = resolve_inside(root, relative, file=named_in, field=field)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        names = {json.loads(line).get(column) for line in lines if line.strip()} - {None}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"its rows cannot be read ({error})",
            file=path,
            remedy="`rlaif doctor` shows what is wrong with it",
        ) from error
    for model in find_contradictions(path.name, map(str, names)):
        yield Finding(
            kind="name-contradicted",
            place=f"{relative}, {column}",
            found=", ".join(sorted(map(str, names))[:3]),
            expected=f"{model}, by the file's name",
            remedy="find out where the file comes from; if only its name is wrong, rename it, and change the name in "
            f"{named_in.relative_to(root).as_posix()}",
        )
