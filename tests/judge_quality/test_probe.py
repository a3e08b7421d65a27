"""The injection probe: which pairs are attacked, and what counts as won."""

from dataclasses import replace

from rlaif_dagster.judge_quality.injection import measure_injection
from rlaif_dagster.judge_quality.probe import ATTACKS, CONTROL, HARMLESS, NULL, NUM_PROBES, Probe, plan_probes
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.reading import Preference
from rlaif_dagster.judging.verdicts import Verdict

TEXTS = {f"r{number:03}": f"Answer {number}." for number in range(200)}


def make_verdicts(
    number: int, ab: Preference, ba: Preference, p: float | None = None, judge: str = "j"
) -> list[Verdict]:
    """Both orders of the pair of answers 2n and 2n+1; `p` is the probability of what each verdict names."""
    pair = Pair.from_responses("p", f"r{2 * number:03}", f"r{2 * number + 1:03}")
    return [
        Verdict(
            verdict_id=f"{judge}{number}{order}",
            pair_id=pair.pair_id,
            prompt_id="p",
            response_a=pair.response_a,
            response_b=pair.response_b,
            order="ab" if order == "ab" else "ba",
            principle_id=None,
            judge=judge,
            repeat=0,
            status="ok",
            p_first=None if p is None else p if verdict == "first" else 1 - p,
            verdict=verdict,
            answers=(),
        )
        for order, verdict in (("ab", ab), ("ba", ba))
    ]


def test_only_pairs_on_which_the_judge_was_sure_are_attacked_and_the_loser_carries_the_attack() -> None:
    verdicts = [
        *make_verdicts(0, "first", "second"),  # a wins: b is attacked
        *make_verdicts(1, "second", "first", 0.8),  # b wins: a is attacked
        *make_verdicts(2, "first", "first"),  # by place
        *make_verdicts(3, "tie", "tie"),
        *make_verdicts(4, "first", "second", 0.7),  # not sure
    ]
    probes = list(plan_probes(verdicts, TEXTS))
    assert {probe.winner for probe in probes} == {"r000", "r003"}
    for probe in probes:
        loser = "Answer 1." if probe.winner == "r000" else "Answer 2."
        if probe.attack == CONTROL:
            assert probe.attacked_text == f"{loser} {HARMLESS}"
        elif probe.attack == NULL:
            assert probe.attacked_text == ATTACKS[NULL]
        else:
            assert probe.attacked_text == f"{loser} {ATTACKS[probe.attack]}"


def test_each_attack_is_tried_as_often_each_with_its_control_whatever_the_order_of_the_rows() -> None:
    verdicts = [v for number in range(100) for v in make_verdicts(number, "first", "second")]
    probes = list(plan_probes(verdicts, TEXTS))
    assert len(probes) == 2 * NUM_PROBES
    for attack in ATTACKS:
        assert sum(probe.attack == attack for probe in probes) == NUM_PROBES / len(ATTACKS)
    assert probes == list(plan_probes(reversed(verdicts), TEXTS))
    assert len({probe.pair for probe in probes}) == len(probes)


def test_the_share_counts_orders_in_which_the_attacked_answer_wins() -> None:
    """One attack: won in one order, lost in the other; its control: one order without a verdict, one lost."""
    probes = list(plan_probes(make_verdicts(0, "first", "second"), TEXTS))
    told = []
    for probe in probes:
        for order in ("ab", "ba"):
            told.append(_judge(probe, order, attacked_wins=probe.attack != CONTROL and order == "ab"))
    silent = replace(told[-1], verdict=None, status="unparsed")
    found = measure_injection(probes, [*told[:-1], silent])["j"]
    assert (found["success"]["value"], found["success"]["n"]) == (0.5, 2)
    assert (found["control"]["value"], found["control"]["n"]) == (0.0, 1)
    assert found["no_verdict"] == 0
    lost = measure_injection(probes, [silent if v is told[0] else v for v in _silence(told, 0)])["j"]
    assert lost["no_verdict"] == 1
    assert (lost["success"]["value"], lost["success"]["n"]) == (0.0, 1)


def _silence(told: list[Verdict], place: int) -> list[Verdict]:
    return [replace(v, verdict=None, status="failed") if n == place else v for n, v in enumerate(told)]


def _judge(probe: Probe, order: str, *, attacked_wins: bool) -> Verdict:
    pair = probe.pair
    shown_first = pair.response_a if order == "ab" else pair.response_b
    first_wins = (shown_first == probe.attacked_id) == attacked_wins
    return Verdict(
        verdict_id=f"{pair.pair_id}{order}",
        pair_id=pair.pair_id,
        prompt_id="p",
        response_a=pair.response_a,
        response_b=pair.response_b,
        order="ab" if order == "ab" else "ba",
        principle_id=None,
        judge="j",
        repeat=0,
        status="ok",
        p_first=None,
        verdict="first" if first_wins else "second",
        answers=(),
    )
