from pathlib import Path

import pytest

from rlaif_dagster.errors import InputError
from rlaif_dagster.judging.constitution import Constitution, ConstitutionSettings, Principle
from rlaif_dagster.reader import read_yaml


def read(tmp_path: Path, text: str) -> Constitution:
    path = tmp_path / "constitution.yaml"
    path.write_text(text)
    return Constitution.from_settings(read_yaml(path, ConstitutionSettings))


def test_neither_order_nor_comments_nor_spelled_out_defaults_count(tmp_path: Path) -> None:
    one = read(
        tmp_path, "principles:\n- {id: kind, text: Be kind.}\n- {id: brief, text: Be brief., weight: 2}"
    )
    other = read(
        tmp_path,
        "principles:\n# first\n- id: brief\n  text: 'Be brief. '\n  weight: 2.0\n"
        "- {id: kind, text: Be kind., weight: 1}",
    )
    assert one == other
    assert one.digest == other.digest
    assert Constitution.from_json(one.to_json()) == one
    assert one.weights == {"brief": 2.0, "kind": 1.0}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("principles: []", 1, "at least one principle"),
        ("principles:\n- {id: a, text: x}\n- {id: a, text: y}", 1, "two principles have the id 'a'"),
        ("principles:\n- {id: a, text: x}\n- {id: b, text: x}", 1, "have the same text"),
        ("principles:\n- {id: a, text: x, weight: -1}", 2, "0.000001, got -1"),
        ("principles:\n- {id: a, text: x, weight: .nan}", 2, "got nan"),
        ("principles:\n- {id: a, text: x, weight: .inf}", 2, "got inf"),
        ("principles:\n- {id: a, text: x, weight: '2'}", 2, "a number, got the text '2'"),
        ("principles:\n- {id: a, text: x, weight: true}", 2, "valid number, got True"),
        ("principles:\n- {id: a, text: ' '}", 2, "the principle is empty"),
        ("principles:\n- {id: Be Kind, text: x}", 2, "'Be Kind' is not a short name"),
        ("principles:\n- {id: '', text: x}", 2, "'' is not a short name"),
        ("principles:\n- {id: a, text: x, wieght: 2}", 2, "unknown field"),
        ("principle:\n- {id: a, text: x}", 1, "missing"),
    ],
)
def test_a_faulty_constitution_is_refused_at_its_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    with pytest.raises(InputError, match="remedy") as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert caught.value.line == line


def test_values_refuse_what_the_schema_refuses() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Constitution(principles=())
    with pytest.raises(ValueError, match="above 0"):
        Constitution(principles=(Principle(id="a", text="x", weight=0.0),))
    two = (Principle(id="b", text="x", weight=1.0), Principle(id="a", text="y", weight=1.0))
    with pytest.raises(ValueError, match="sorted"):
        Constitution(principles=two)


def test_the_joint_rule_speaks_of_weights_only_where_they_differ() -> None:
    even = Constitution(
        principles=(
            Principle(id="a", text="Be kind.", weight=2.0),
            Principle(id="b", text="Be brief.", weight=2.0),
        )
    )
    uneven = Constitution(
        principles=(
            Principle(id="a", text="Be kind.", weight=2.0),
            Principle(id="b", text="Be brief.", weight=0.5),
        )
    )
    assert even.joint_text == "- Be kind.\n- Be brief."
    assert uneven.joint_text == "- Be kind. (weight 2)\n- Be brief. (weight 0.5)"
    assert Constitution(principles=even.principles[:1]).joint_text == "Be kind."
