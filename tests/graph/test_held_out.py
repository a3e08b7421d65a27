"""Asking judges about held-out answers: what else they are asked does not change what they say of these."""

from pathlib import Path

from rlaif_dagster.digest import Digest
from rlaif_dagster.graph.build import build_graph
from rlaif_dagster.graph.held_out import EvaluationSpec, HeldOutVerdicts, judge_answers
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.graph.sources import read_constitution
from rlaif_dagster.graph.stage import StageContext
from rlaif_dagster.judging.jury import estimate_accuracies
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.prompts import Prompt
from tests.graph.test_preferences import make_jury, read_inputs


def test_what_a_jury_says_of_held_out_answers_does_not_depend_on_what_else_it_is_asked(
    default_project: Path, tmp_path: Path
) -> None:
    """Three judges of different noise, whose accuracies look otherwise with thirty more pairs."""
    jury = make_jury(*"jkl", combine="reliability")
    for number, judge in enumerate(jury["judges"]):
        judge |= {"seed": number, "noise": 0.05 + 0.15 * number}
    inputs = read_inputs(default_project, jury)
    graph = build_graph(inputs)
    names = [f"p{number:02}" for number in range(40)]
    pairs = [Pair.from_responses(name, f"{name}/a", f"{name}/b") for name in names]

    def make_context(folder: Path, folders: dict[str, Path]) -> StageContext:
        for name in ("output", "scratch"):
            (folder / name).mkdir(parents=True)
        return StageContext(
            inputs=folders,
            digests={name: Digest.from_bytes(name.encode()) for name in folders},
            output=folder / "output",
            scratch=folder / "scratch",
            journal=folder / "journal",
            attempt="one",
            services=NoHistory(),
        )

    sources = {}
    for name in ("judge", "constitution"):
        context = make_context(tmp_path / name, {})
        graph[name].compute(context)
        sources[name] = context.output

    def ask(name: str, others: list[Pair]) -> HeldOutVerdicts:
        return judge_answers(
            pairs[:10],
            others,
            make_context(tmp_path / name, sources),
            EvaluationSpec.from_inputs(inputs),
            judge="judge",
            responses=[
                {"response_id": f"{name}/{side}", "text": f"{name} {side}", "finish_reason": "stop"}
                for name in names
                for side in "ab"
            ],
            prompts=[Prompt(prompt_id=n, prompt=n, category=None, split="eval") for n in names],
            constitution=read_constitution(sources["constitution"]),
        )

    alone, among_others = ask("alone", []), ask("among_others", pairs[10:])
    held_out = {pair.pair_id for pair in pairs[:10]}
    assert {name: row for name, row in among_others.by_pair.items() if name in held_out} == alone.by_pair
    assert len(among_others.by_pair) > len(alone.by_pair) > 0
    assert estimate_accuracies(among_others.verdicts) != estimate_accuracies(alone.verdicts)
