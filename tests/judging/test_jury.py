"""Votes of several judges become one probability; how right each is follows from how they agree."""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.judging.jury import ACCURACY_RANGE, Jury, estimate_accuracies
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.verdicts import ORDERS, Order, Verdict

Votes = Sequence[tuple[str, Order, str]]
"""Judge, order, and which answer it names: a, b or tie."""


def make_verdicts(pairs: Iterable[Votes]) -> list[Verdict]:
    verdicts = []
    for number, votes in enumerate(pairs):
        pair = Pair.from_responses("p", f"a{number:05}", f"b{number:05}")
        for judge, order, named in votes:
            place = "tie" if named == "tie" else "first" if (named == "a") == (order == "ab") else "second"
            verdicts.append(
                Verdict(
                    verdict_id=f"{number}{judge}{order}",
                    pair_id=pair.pair_id,
                    prompt_id="p",
                    response_a=pair.response_a,
                    response_b=pair.response_b,
                    order=order,
                    principle_id=None,
                    judge=judge,
                    repeat=0,
                    status="ok",
                    p_first=None,
                    verdict=place,  # type: ignore[arg-type]
                    answers=(),
                )
            )
    return verdicts


def both(judge: str, named: str) -> list[tuple[str, Order, str]]:
    return [(judge, "ab", named), (judge, "ba", named)]


def test_the_rules_worked_by_hand() -> None:
    said = {"j": 0.9, "k": 0.4, "l": 0.5}
    assert Jury().weigh(said) == pytest.approx(0.6)
    assert Jury(combine="majority").weigh(said) == pytest.approx((1 + 0 + 0.5) / 3)
    # Nitzan and Paroush: j is right 9 times in 10, so its odds are 9; k's are 3; for a against b: 9 / 3 = 3.
    jury = Jury(combine="reliability", accuracies={"j": 0.9, "k": 0.75, "l": 0.8})
    assert jury.weigh(said) == pytest.approx(3 / 4)
    assert jury.weigh({"k": 0.9}) == pytest.approx(0.75)
    # Two of 0.75 agree against one of 0.9: odds 3 x 3 / 9 = 1.
    jury = Jury(combine="reliability", accuracies={"j": 0.9, "k": 0.75, "l": 0.75})
    assert jury.weigh({"j": 0.0, "k": 1.0, "l": 1.0}) == pytest.approx(0.5)
    assert Jury(combine="reliability").weigh(said) == Jury(combine="majority").weigh(said)


@given(
    st.dictionaries(st.sampled_from("jklm"), st.floats(0, 1), min_size=1),
    st.dictionaries(st.sampled_from("jklm"), st.floats(*ACCURACY_RANGE)),
)
def test_the_other_way_round_gives_the_complement(
    said: dict[str, float], accuracies: dict[str, float]
) -> None:
    other = {judge: 1 - value for judge, value in said.items()}
    for jury in (Jury(), Jury(combine="majority"), Jury(combine="reliability", accuracies=accuracies)):
        assert 0 <= jury.weigh(said) <= 1
        assert jury.weigh(other) == pytest.approx(1 - jury.weigh(said), abs=1e-12)


def simulate(
    accuracies: Mapping[str, float], *, num_pairs: int, position_bias: float = 0.0, independent: bool = False
) -> tuple[list[Verdict], list[str]]:
    """Judges that err independently; with some chance a judge takes the first answer instead, in each order anew."""
    draw = random.Random(7)  # noqa: S311
    truths = [draw.choice("ab") for _ in range(num_pairs)]
    pairs: list[Votes] = []
    for truth in truths:
        votes: list[tuple[str, Order, str]] = []
        for judge, accuracy in accuracies.items():
            for order in ORDERS:
                if independent or order == "ab":
                    named = truth if draw.random() < accuracy else "ab".replace(truth, "")
                biased = draw.random() < position_bias
                votes.append((judge, order, order[0] if biased else named))
        pairs.append(votes)
    return make_verdicts(pairs), truths


def test_known_accuracies_are_recovered() -> None:
    known = {"poor": 0.55, "fair": 0.7, "good": 0.85, "best": 0.95}
    verdicts, _ = simulate(known, num_pairs=2000)
    found = estimate_accuracies(verdicts)
    for judge, accuracy in known.items():
        assert found[judge] == pytest.approx(
            accuracy, abs=0.04
        )  # 3 standard errors of a share of 2000, and a little


def test_a_position_bias_is_no_opinion() -> None:
    """What a judge says in one order only is left out, so what is found is its accuracy without the bias."""
    verdicts, _ = simulate({"j": 0.9, "k": 0.9, "l": 0.9}, num_pairs=2000, position_bias=0.6)
    for accuracy in estimate_accuracies(verdicts).values():
        assert accuracy == pytest.approx(0.9, abs=0.07)  # 800 opinions each, 320 shared by two
    first: Votes = [("first", "ab", "a"), ("first", "ba", "b")]
    pairs = [[*first, *(vote for judge in "jkl" for vote in both(judge, named))] for named in "abab" * 25]
    found = estimate_accuracies(make_verdicts(pairs))
    assert set(found) == {"j", "k", "l"}
    jury = Jury(combine="reliability", accuracies=found)
    assert jury.weigh({"first": 1.0}) == 0.5
    assert jury.weigh({"first": 1.0, "j": 0.0}) == jury.weigh({"j": 0.0})


def test_errors_in_each_order_anew_leave_the_accuracy_of_what_both_orders_say() -> None:
    """Right 0.8 of the time in each order: of two that agree, 0.64 / (0.64 + 0.04) = 0.94 are right."""
    verdicts, _ = simulate(dict.fromkeys("jkl", 0.8), num_pairs=2000, independent=True)
    for accuracy in estimate_accuracies(verdicts).values():
        assert accuracy == pytest.approx(0.64 / 0.68, abs=0.03)


def test_weights_beat_the_majority_where_judges_differ() -> None:
    known = {"best": 0.95, "k": 0.6, "l": 0.6, "m": 0.6}
    verdicts, truths = simulate(known, num_pairs=1000)
    votes: dict[str, dict[str, float]] = {}
    for verdict in verdicts:
        if verdict.order == "ab":
            votes.setdefault(verdict.pair_id, {})[verdict.judge] = verdict.probability_a or 0.0

    def measure(jury: Jury) -> float:
        right = [
            1 - abs((1.0 if truth == "a" else 0.0) - (0.5 if p == 0.5 else round(p)))
            for truth, p in zip(truths, map(jury.weigh, votes.values()), strict=True)
        ]
        return math.fsum(right) / len(right)

    weighted = measure(Jury.from_verdicts("reliability", verdicts))
    assert weighted > 0.94  # at most what the best judge knows, 0.95, when the others are weak
    assert measure(Jury.from_verdicts("majority", verdicts)) < 0.85


@pytest.mark.parametrize("judges", ["j", "jk"])
def test_fewer_than_three_judges_say_nothing_of_each_other(judges: str) -> None:
    verdicts = make_verdicts([[vote for judge in judges for vote in both(judge, "a")]] * 10)
    assert estimate_accuracies(verdicts) == {}
    jury = Jury.from_verdicts("reliability", verdicts)
    assert jury.weigh({"j": 1.0, "k": 0.0}) == 0.5


def test_few_votes_make_no_certainty_and_agreement_by_chance_gives_no_say() -> None:
    def agree(num_pairs: int) -> dict[str, float]:
        return estimate_accuracies(
            make_verdicts([[v for judge in "jkl" for v in both(judge, "a")]] * num_pairs)
        )

    assert all(accuracy == pytest.approx(0.5, abs=0.03) for accuracy in agree(1).values())
    assert all(accuracy == pytest.approx(11 / 12, abs=2e-3) for accuracy in agree(10).values())
    assert set(agree(500).values()) == {0.99}
    evenly: list[Votes] = [list(zip("jkl", ["ab"] * 3, row, strict=True)) for row in product("ab", repeat=3)]
    assert set(estimate_accuracies(make_verdicts(evenly * 20)).values()) == {0.5}
    ties = make_verdicts([[vote for judge in "jkl" for vote in both(judge, "tie")]] * 3)
    assert estimate_accuracies(ties) == {}


@given(
    st.lists(
        st.dictionaries(
            st.tuples(st.sampled_from("jkl"), st.sampled_from(["ab", "ba"])),
            st.sampled_from(["a", "b", "tie"]),
            min_size=1,
        ),
        min_size=1,
        max_size=6,
    ),
    st.randoms(use_true_random=False),
)
def test_neither_names_nor_the_order_of_pairs_count(
    pairs: list[dict[tuple[str, Order], str]], shuffler: random.Random
) -> None:
    votes = [[(judge, order, named) for (judge, order), named in pair.items()] for pair in pairs]
    base = estimate_accuracies(make_verdicts(votes))
    turned = [
        [(judge, order, {"a": "b", "b": "a"}.get(named, named)) for judge, order, named in pair]
        if shuffler.random() < 0.5
        else pair
        for pair in votes
    ]
    shuffler.shuffle(turned)
    assert estimate_accuracies(make_verdicts(turned)) == base
    assert all(ACCURACY_RANGE[0] <= accuracy <= ACCURACY_RANGE[1] for accuracy in base.values())
