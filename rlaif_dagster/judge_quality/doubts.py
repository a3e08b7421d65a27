"""Finds signs that verdicts do not come from the judges that they name."""

from collections.abc import Iterator, Sequence

from rlaif_dagster.judge_quality.rows import JudgedRow, group_by_judge
from rlaif_dagster.judging.copies import find_copies, make_verdict_row
from rlaif_dagster.judging.model_names import find_contradictions


def find_doubts(file_name: str, rows: Sequence[JudgedRow]) -> Iterator[str]:
    """Yields signs that rows do not come from the judges that they name.

    Args:
        file_name: The file's name.
        rows: Its rows.
    """
    judges = group_by_judge(rows)
    for model in find_contradictions(file_name, judges):
        yield (
            f"name-contradicted: the file's name says {model}, but its rows are of {', '.join(judges)}; remedy: find "
            "out where the file comes from, and correct the name or the rows"
        )
    authored = {
        judge: {
            (row.pair.pair_id, row.order, row.repeat): make_verdict_row((row.verdict, row.p_first, None))
            for row in judged
        }
        for judge, judged in judges.items()
    }
    for copy in find_copies(authored):
        yield (
            f"rows-copied: {copy.num_equal} of {copy.num_rows} rows of {copy.other} equal those of {copy.one}; remedy: "
            f"find out where the rows of {copy.other} come from; if it was only renamed, keep one name"
        )
