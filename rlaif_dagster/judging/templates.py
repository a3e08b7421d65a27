"""Judge prompts: files that put a rule, a request and two answers into chat messages.

A template is YAML:

    messages:                 # one or more chat messages
      - role: user            # system, user or assistant
        content: "..."        # jinja2 with {{ principle }}, {{ prompt }}, {{ first }} and {{ second }}
    verdicts: {first: "A", second: "B"}   # the judge's word for the answer shown first or second; also `tie`
    verdict_line: "Verdict:"  # the line with the verdict, after the reasoning; without it, the reply is the verdict

A template that rates one answer at a time has `{{ answer }}` in place of the two, and a scale of whole numbers in
place of the verdicts:

    ratings: {lowest: 1, highest: 10}

A template for a critique or a revision says so, and has no verdict; `{{ critique }}` is for a revision:

    writes: critique          # or revision

A template only inserts texts: it has no conditions, loops or arithmetic. So what the judge is asked cannot depend on
what an answer says, and no template can render without end. The filter `one_line` puts a text on one line, for
templates whose structure is their lines.

Every inserted text has passed `neutralise`. The law: whatever an answer contains, the marks `⟦…⟧` in rendered messages
are the template's own, and the messages contain no chat token such as `<|im_end|>`. A template's digest covers its
content; comments do not count.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

from jinja2 import Environment, TemplateError, nodes
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rlaif_dagster.digest import Digest, JsonValue
from rlaif_dagster.errors import InputError
from rlaif_dagster.judging.reading import read_rating, read_verdict
from rlaif_dagster.reader import read_yaml, resolve_inside

PACKAGED_TEMPLATES: Final = Path(__file__).with_name("templates")
"""The folder of the templates that come with the package."""

VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "comparison": ("principle", "prompt", "first", "second"),
    "rating": ("principle", "prompt", "answer"),
    "critique": ("principle", "prompt", "answer"),
    "revision": ("principle", "prompt", "answer", "critique"),
}
"""The variables of a template, by form."""

Form = Literal["comparison", "rating", "critique", "revision"]
"""Whether two answers are compared, one is rated, or one is criticised or revised."""

_LINE_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f"  # controls, except tab and line breaks
    "\u00ad\u034f\u180e\u200b\u2060-\u2064\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"  # no ink, no width
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction
    "\U000e0000-\U000e0fff"  # tags and supplementary variation selectors, which can smuggle text
    "\ud800-\udfff]"  # lone surrogates, which no encoder accepts
)
_JOINERS = re.compile("[\u200c\u200d]+")
_STRAY_JOINER = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])")
_CHAT_TOKEN = re.compile(
    r"<(?=[|｜][^\s<>|｜]{1,64}[|｜]?>)"  # <|im_end|>, <｜User｜>, <|turn>
    r"|<(?=[^\s<>|｜]{1,64}[|｜]>)"  # <turn|>
    r"|<(?=/?(?:s|bos|eos|pad|unk|mask|think|(?:start|end)_of_turn)>)"  # <s>, </think>, <end_of_turn>
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"  # [INST]
    r"|<(?=</?SYS>>)"  # <<SYS>>
)
_MARKS = str.maketrans({"⟦": "[[", "⟧": "]]", "〚": "[[", "〛": "]]"})  # and their twins, U+301A and U+301B


class Harmless(str):
    """A text that has passed `neutralise`; what our own code adds later stays."""

    __slots__ = ()


# An answer is shown in both orders and under every principle, within a short time.
@lru_cache(maxsize=64)
def neutralise(text: str) -> Harmless:
    """Makes a text harmless inside a judge's prompt, and leaves ordinary text as it is.

    - Every kind of line break becomes a newline.
    - Control characters (except tab and newline), zero-width characters, direction marks, invisible tags and
      lone surrogates are removed. Joiners stay between two non-ASCII characters, where scripts and
      emoji need them.
    - The marks `⟦` and `⟧`, which fence the parts of a prompt, become `[[` and `]]`; so do those that look the same.
    - Chat tokens of known formats (`<|…|>`, `<s>`, `[INST]`, `<end_of_turn>`, `<<SYS>>`, `<think>`) get a space
      after their first character, so that no tokenizer reads them as its own.

    The function is idempotent. It removes what a machine would read as structure; it does not judge what a
    text says.
    """
    text = _LINE_BREAKS.sub("\n", text)
    text = _INVISIBLE.sub("", text)
    if _JOINERS.search(text):  # few texts have any, and searching for stray ones is slow
        text = _JOINERS.sub(lambda run: run.group()[0], text)
        text = _STRAY_JOINER.sub("", text)
    text = text.translate(_MARKS)
    return Harmless(_CHAT_TOKEN.sub(lambda token: token.group() + " ", text))


@lru_cache(maxsize=64)
def fold_lines(text: str) -> str:
    """Folds a text onto one line: runs of white space around a line break become one space."""
    return " ".join(line for part in text.split("\n") if (line := part.strip()))


def neutralise_once(text: str) -> Harmless:
    """Makes a text harmless, unless it is already."""
    return text if isinstance(text, Harmless) else neutralise(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateMessage:
    """One chat message of a template, its content in jinja2."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A judge's prompt.

    Attributes:
        name: The name by which the template was loaded; not part of the digest.
        messages: The chat messages.
        verdicts: For a comparison: the judge's words for `first`, `second` and, if allowed, `tie`.
        scale: For a rating: the lowest and the highest.
        verdict_line: The beginning of the line with the verdict; None if the reply is only the verdict.
        writes: What is written, if it is a critique or a revision instead of a verdict.
    """

    name: str
    messages: tuple[TemplateMessage, ...]
    verdicts: Mapping[Literal["first", "second", "tie"], str]
    scale: tuple[int, int] | None
    verdict_line: str | None
    writes: Literal["critique", "revision"] | None = None

    @property
    def form(self) -> Form:
        """Whether two answers are compared, one is rated, or one is criticised or revised."""
        if self.writes is not None:
            return self.writes
        return "comparison" if self.scale is None else "rating"

    @property
    def words(self) -> tuple[str, ...]:
        """What the judge may say: the verdicts, or the numbers of the scale."""
        if self.scale is None:
            return tuple(self.verdicts.values())
        return tuple(str(rating) for rating in range(self.scale[0], self.scale[1] + 1))

    @property
    def digest(self) -> Digest:
        """The digest of the messages and the verdicts."""
        return Digest.from_json(self.to_json())

    def to_json(self) -> JsonValue:
        """The template as JSON, spelled as in the file: `Template.from_json(t.to_json(), name=t.name) == t`."""
        value: dict[str, JsonValue] = {
            "messages": [{"role": line.role, "content": line.content} for line in self.messages]
        }
        if self.writes is not None:
            value["writes"] = self.writes
        elif self.scale is None:
            value["verdicts"] = {str(preference): word for preference, word in self.verdicts.items()}
        else:
            value["ratings"] = {"lowest": self.scale[0], "highest": self.scale[1]}
        if self.verdict_line is not None:
            value["verdict_line"] = self.verdict_line
        return value

    @classmethod
    def from_json(cls, value: JsonValue, *, name: str = "template") -> Self:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: If the value is anything else.
        """
        return cls._from_file(_TemplateFile.model_validate(value), name)

    @classmethod
    def _from_file(cls, lines: "_TemplateFile", name: str) -> Self:
        verdicts: dict[Literal["first", "second", "tie"], str] = {}
        if lines.verdicts:
            verdicts = {"first": lines.verdicts.first, "second": lines.verdicts.second}
            if lines.verdicts.tie is not None:
                verdicts["tie"] = lines.verdicts.tie
        return cls(
            name=name,
            messages=tuple(TemplateMessage(role=line.role, content=line.content) for line in lines.messages),
            verdicts=verdicts,
            scale=(lines.ratings.lowest, lines.ratings.highest) if lines.ratings else None,
            verdict_line=lines.verdict_line,
            writes=lines.writes,
        )

    def render(self, texts: Mapping[str, str]) -> list[dict[str, str]]:
        """Inserts texts, neutralised once, into the messages.

        Args:
            texts: The text of each variable of the form (`VARIABLES`): the rule to judge by, the request, and the
                answers.
        """
        harmless = {name: neutralise_once(text) for name, text in texts.items()}
        return [
            {
                "role": message.role,
                "content": "".join(piece.fill(harmless) for piece in _part(message.content)),
            }
            for message in self.messages
        ]


_ENVIRONMENT = Environment()  # noqa: S701 (it parses, and renders nothing)
_MAY_USE: Final = {"Output", "TemplateData", "the filter one_line", *itertools.chain(*VARIABLES.values())}


class _Piece(NamedTuple):
    """A piece of a message: literal text, or the name of a variable."""

    text: str
    is_name: bool = False
    is_folded: bool = False

    def fill(self, texts: Mapping[str, str]) -> str:
        if not self.is_name:
            return self.text
        return fold_lines(texts[self.text]) if self.is_folded else texts[self.text]


@lru_cache(maxsize=64)
def _part(content: str) -> tuple[_Piece, ...]:
    """Splits a message that only inserts texts, so that no template code ever runs."""
    pieces = []
    for output in _ENVIRONMENT.parse(content).find_all(nodes.Output):
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                pieces.append(_Piece(node.data))
            else:
                (name,) = [node] if isinstance(node, nodes.Name) else node.find_all(nodes.Name)
                pieces.append(_Piece(name.name, is_name=True, is_folded=isinstance(node, nodes.Filter)))
    return tuple(pieces)


class _MessageLines(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str

    @field_validator("content")
    @classmethod
    def _refuse_programs(cls, content: str) -> str:
        remedy = "remedy: insert texts with {{ name }} or {{ name | one_line }}, and use no other jinja2"
        try:
            parts = list(_ENVIRONMENT.parse(content).find_all(nodes.Node))
        except TemplateError as error:
            raise ValueError(f"the jinja2 fails: {error}; {remedy}") from error
        for part in parts:
            what = type(part).__name__
            if isinstance(part, nodes.Name):
                what = part.name
            elif isinstance(part, nodes.Filter):
                what = f"the filter {part.name}"
            if what not in _MAY_USE:
                raise ValueError(
                    f"a template can only insert texts, but line {part.lineno} uses {what}; {remedy}"
                )
        return content


class _VerdictWords(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    first: str = Field(min_length=1)
    second: str = Field(min_length=1)
    tie: str | None = Field(default=None, min_length=1)


class _Scale(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    lowest: int = Field(ge=0, le=1000)
    highest: int = Field(ge=0, le=1000)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.lowest >= self.highest:
            raise ValueError(
                f"the scale goes from {self.lowest} to {self.highest}; remedy: write the lower number first"
            )
        return self


class _TemplateFile(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    messages: list[_MessageLines] = Field(min_length=1)
    verdicts: _VerdictWords | None = None
    ratings: _Scale | None = None
    verdict_line: str | None = Field(default=None, min_length=1)
    writes: Literal["critique", "revision"] | None = None

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        if sum(part is not None for part in (self.verdicts, self.ratings, self.writes)) != 1:
            raise ValueError(
                "a template has either verdicts, to compare two answers, or ratings, to rate one, or writes, for a "
                "critique or revision; remedy: write exactly one of the three"
            )
        if self.writes is not None and self.verdict_line is not None:
            raise ValueError(
                f"a {self.writes} states no verdict, but there is a verdict_line; remedy: remove verdict_line"
            )
        return self


def load_template(
    name_or_path: str, root: Path | None = None, *, forms: Sequence[Form] = ("comparison", "rating")
) -> Template:
    """Loads a packaged template by name (`compact`, `pairwise`), or a file by a path that ends in `.yaml`.

    Args:
        name_or_path: The name, or the path inside the project.
        root: The project's folder; None for the current one.
        forms: The allowed forms.

    Raises:
        InputError: If there is no such template, it is not one, or its form is not allowed.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        root = root or Path()
        path = resolve_inside(root, name_or_path, file=root / name_or_path, field="template")
    else:
        path = PACKAGED_TEMPLATES / f"{name_or_path}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in PACKAGED_TEMPLATES.glob("*.yaml")))
            raise InputError(
                f"there is no judge template named {name_or_path!r}",
                file=path,
                remedy=f"name one of {known}, or a file of the project by a path that ends in .yaml",
            )
    template = Template._from_file(read_yaml(path, _TemplateFile), name_or_path)
    if template.form not in forms:
        raise InputError(
            f"the template is for a {template.form}, but is used for a {' or a '.join(forms)}",
            file=path,
            remedy="name another template",
        )
    _try_rendering(template, path)
    _try_reading(template, path)
    return template


def _try_rendering(template: Template, path: Path) -> None:
    """Renders once, and checks that every text is inserted and that the judge is told how to state its verdict."""
    variables = VARIABLES[template.form]
    remedy = f"use each of {', '.join(f'{{{{ {name} }}}}' for name in variables)} and nothing else"
    samples = {name: f"{name} sample" for name in variables}
    try:
        rendered = "\n".join(message["content"] for message in template.render(samples))
    except KeyError as error:
        raise InputError(f"{error} is undefined", file=path, field="messages", remedy=remedy) from error
    for name, sample in samples.items():
        if sample not in rendered:
            raise InputError(f"{name!r} is not used", file=path, field="messages", remedy=remedy)
    if template.verdict_line is not None and template.verdict_line not in rendered:
        raise InputError(
            f"the messages do not ask for a line that begins with {template.verdict_line!r}",
            file=path,
            field="verdict_line",
            remedy="ask for that line in the messages, with exactly this spelling",
        )


def _try_reading(template: Template, path: Path) -> None:
    """Checks that each verdict, written as the template asks, is read correctly."""
    line = template.verdict_line
    values = (
        {word: float(word) for word in template.words}
        if template.scale
        else {word: preference for preference, word in template.verdicts.items()}
    )
    for word, value in values.items():
        text = word if line is None else f"Because.\n{line} {word}"
        read = read_verdict(text, template) if template.scale is None else read_rating(text, template)
        if read != value:
            raise InputError(
                f"a judge that answers {word!r}, as asked, is understood as {read}",
                file=path,
                field="verdicts" if template.scale is None else "verdict_line",
                remedy="choose verdicts that differ in letters or digits, such as A and B, and a verdict_line of words",
            )
