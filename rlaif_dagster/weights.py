"""Opens the weights of a model folder, and refuses weights that do not fit the model.

transformers fills a missing weight with random numbers, drops a tensor that has no place in the model, and only warns.
Here both are errors, for every use of a model. What counts is what transformers reports after its own renaming:

- A missing weight is refused. Tied weights, and buffers that are computed again, are not missing. The head of a new
  reward model is drawn from the seed, if no part of it is in the folder; `OpenedModel.new_weights` names it.
- A tensor without a place in the model is refused: it belongs to another architecture or to the head of another task,
  such as the `score` of a reward model that is used as a policy. Allowed are tensors that transformers itself ignores
  for the architecture, buffers saved by its older versions (`_BUFFERS`), and the language-model head in a reward
  model's folder. In a quantized folder only the quantizer's library knows which names belong there.
- A tensor of another shape, a number that is not finite, and a token without a row in the embedding are refused.
  A judge may have numbers that are not finite: then each of its answers reports it.

Known trade-off (accepted): a token beyond the embedding is allowed if neither the chat template nor padding uses it,
because published folders have some (an image placeholder in a text model).

torch and transformers are imported inside the functions.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlaif_dagster.errors import ModelError
from rlaif_dagster.numerics import quieten_libraries

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BUFFERS: Final = re.compile(
    r"(^|[._])(inv_freq|cos_cached|sin_cached|position_ids)$|\.(attn|attention)\.(bias|masked_bias|causal_mask)$"
)
"""Constants of the architecture: rotary frequencies, positions, and causal masks."""
_LM_HEAD: Final = re.compile(r"^(lm_head|embed_out|output_layer|cls)\.")
"""The names of a language model's head in various architectures."""
_NUM_NAMED: Final = 3
"""How many tensors a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How a model is used.

    Attributes:
        what: The use, in messages.
        opener: The class of transformers that opens it.
        options: Further arguments of it.
        starts_head: If True, a head that is completely missing in the folder is drawn from the global seed.
        ignores_lm_head: If True, the folder may have a language model's head, which is not used.
        takes_any_number: If True, weights that are not finite are allowed.
    """

    what: str
    opener: str
    options: Mapping[str, Any] = field(default_factory=dict)
    starts_head: bool = False
    ignores_lm_head: bool = False
    takes_any_number: bool = False


CAUSAL_LM: Final = Use(what="a causal language model", opener="AutoModelForCausalLM")
JUDGE_USE: Final = replace(CAUSAL_LM, takes_any_number=True)
"""A judge. Its weights may be not finite: then each answer is a failed row with that reason."""
REWARD_MODEL_USE: Final = Use(
    what="a reward model",
    opener="AutoModelForSequenceClassification",
    options={"num_labels": 1},
    ignores_lm_head=True,
)
REWARD_BASE_USE: Final = replace(REWARD_MODEL_USE, starts_head=True)
"""What a reward model is trained from: a language model, or a classifier with one output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A model in evaluation mode, its tokenizer, and the names of the weights that came from the seed."""

    model: Any
    tokenizer: "PreTrainedTokenizerBase"
    new_weights: tuple[str, ...]


def open_model(folder: Path, use: Use, *, dtype: str) -> OpenedModel:
    """Opens a model folder, from safetensors only; runs no code from it.

    Args:
        folder: A model folder.
        use: What to open it as.
        dtype: "float32", "bfloat16", "float16", or "auto" for the precision of the files.

    Raises:
        ModelError: If the folder cannot be opened, or its weights do not fit.
    """
    opened = _open_fitting(folder, use, name=str(folder), dtype=dtype)
    if not use.takes_any_number:
        _require_finite(opened.model, name=str(folder), dtype=dtype)
    opened.model.eval()
    return opened


def inspect_model(folder: Path, use: Use, *, name: str) -> tuple[str, ...]:
    """Refuses what `open_model` would refuse because of names and shapes, without loading weights.

    The weights of a quantized folder are checked only by `open_model`: only the quantizer's library knows their names.

    Args:
        folder: A model folder.
        use: What to open it as.
        name: The model's name for messages.

    Returns:
        The names of the weights that the seed would give.

    Raises:
        ModelError: If the folder cannot be opened, or its weights do not fit.
    """
    if _is_quantized(folder):
        return ()
    quieten_libraries()
    return _open_fitting(folder, use, name=name, dtype="auto", device_map="meta").new_weights


def _open_fitting(folder: Path, use: Use, *, name: str, dtype: str, **options: Any) -> OpenedModel:
    import transformers

    _require_own_files(folder, name=name)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model, found = getattr(transformers, use.opener).from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **use.options,
            **options,
        )
    except Exception as error:  # a foreign folder can make transformers raise anything
        if damaged := _find_damaged(folder):
            raise ModelError(
                f"{name}: {damaged}.\n"
                "  remedy: copy or download the folder again, and compare the sizes of its files; a file of a hundred "
                "bytes is a pointer of Git LFS (`git lfs pull`)"
            ) from error
        raise ModelError(
            f"{name}: transformers cannot open this as {use.what} ({type(error).__name__}: {error}).\n"
            "  remedy: check that it has config.json, tokenizer files and *.safetensors weights"
        ) from error
    missing = set(found["missing_keys"])
    new_weights = _find_new_head(model, missing) if use.starts_head else frozenset()
    _require_fit(
        model,
        name=name,
        missing=missing - new_weights,
        unused=set() if _is_quantized(folder) else _find_unused(found["unexpected_keys"], use),
        shapes={key: (tuple(got), tuple(expected)) for key, got, expected in found["mismatched_keys"]},
    )
    _require_tokens_fit(model, tokenizer, name=name)
    return OpenedModel(model=model, tokenizer=tokenizer, new_weights=tuple(sorted(new_weights)))


def _require_own_files(folder: Path, *, name: str) -> None:
    """Refuses a folder whose weights are not all in it."""
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{name}: this folder has adapters (adapter_config.json), but a model is opened without them.\n"
            "  remedy: merge them into the weights (peft: `merge_and_unload`), and save the merged model"
        )
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file() or not index.is_file():
        return
    try:
        shards = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{name}: {index.name} has no `weight_map` of tensors to files ({error!r}).\n"
            "  remedy: copy or download the folder again"
        ) from error
    own = {path.name for path in folder.glob("*.safetensors")}
    if absent := sorted(str(shard) for shard in shards if shard not in own):
        raise ModelError(
            f"{name}: {index.name} names {_list_names(absent, 'file')}, not in this folder.\n"
            "  remedy: copy or download the folder again, with all of its *.safetensors files"
        )


def _find_damaged(folder: Path) -> str | None:
    """Says which safetensors file cannot be read, and why; None if all can be."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except SafetensorError as error:
            return f"{path.name} is damaged or cut short ({path.stat().st_size} bytes; {error})"
    return None


def _find_unused(unexpected: Collection[str], use: Use) -> set[str]:
    """Finds the tensors that matter among those without a place in the model."""
    return {
        key
        for key in unexpected
        if not _BUFFERS.search(key) and not (use.ignores_lm_head and _LM_HEAD.match(key))
    }


def _find_new_head(model: Any, missing: Collection[str]) -> frozenset[str]:
    """Finds the head's weights (those outside the architecture's base model), if the folder lacks all of them."""
    inside = f"{model.base_model_prefix}."
    weights = frozenset(model.state_dict())
    head = frozenset(key for key in weights if not key.startswith(inside))
    return head if head < weights and head <= set(missing) else frozenset()


def _require_fit(
    model: Any,
    *,
    name: str,
    missing: Collection[str],
    unused: Collection[str],
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
) -> None:
    faults = []
    if missing:
        faults.append(f"missing, of {len(model.state_dict())}: {_list_names(missing)}")
    if unused:
        faults.append(f"in the files, but not in the model: {_list_names(unused)}")
    if shapes:
        key, (got, expected) = min(shapes.items())
        faults.append(
            f"of another shape: {_list_names(shapes)}, {key} is {got} in the files and {expected} in the model"
        )
    if not faults:
        return
    remedy = (
        "copy all files of the model, or save config.json and weights together again (`save_pretrained`); "
        "if the model does not need a tensor, remove it from the files"
    )
    if prefix := _find_prefix(missing, unused):
        remedy = (
            f"the names in the files begin with {prefix!r}: save the model itself, not the compiled or distributed "
            "model that wraps it, or remove the prefix"
        )
    listed = "".join(f"\n  {fault}" for fault in faults)
    raise ModelError(
        f"{name}: the weights do not fit the model that config.json describes ({type(model).__name__}); weights are "
        f"never filled with random numbers.{listed}\n"
        f"  remedy: {remedy}"
    )


def _require_tokens_fit(model: Any, tokenizer: "PreTrainedTokenizerBase", *, name: str) -> None:
    """Refuses a vocabulary, a padding or end token, or a token of the chat template without a row in the embedding."""
    rows = model.get_input_embeddings().weight.shape[0]
    template = str(tokenizer.chat_template)
    named = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id)
    written = (key for key, token in tokenizer.added_tokens_decoder.items() if token.content in template)
    highest = max(tokenizer.vocab_size - 1, 0, *written, *(key for key in named if key is not None))
    if highest >= rows:
        raise ModelError(
            f"{name}: the tokenizer uses token ids up to {highest}, but the embedding has only {rows} rows, from 0.\n"
            "  remedy: use the tokenizer that belongs to the model; or, if tokens were added, enlarge the embedding "
            "(`model.resize_token_embeddings(len(tokenizer))`), train it, and save both"
        )


def _require_finite(model: Any, *, name: str, dtype: str) -> None:
    """Reads each weight once without copying: about 6 GB per second and thread."""
    import torch

    floats = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    broken = [
        key
        for key, weight in model.named_parameters()
        if weight.dtype in floats
        and weight.numel()
        and not weight.is_meta
        and not all(bound.isfinite() for bound in torch.aminmax(weight.detach()))
    ]
    if broken:
        raise ModelError(
            f"{name}: not finite (NaN or infinite) when read as {dtype}: {_list_names(broken)}.\n"
            "  remedy: copy or download the folder again; if its numbers are too large for float16, set another `dtype`"
        )


def _find_prefix(missing: Collection[str], unused: Collection[str]) -> str | None:
    """Finds a prefix of every unused name without which it is a missing name; None if there is none."""
    first = min(unused, default="")
    for end in (place + 1 for place, letter in enumerate(first) if letter == "."):
        if all(key.startswith(first[:end]) and key[end:] in missing for key in unused):
            return first[:end]
    return None


def _list_names(names: Collection[str], noun: str = "tensor") -> str:
    named = ", ".join(sorted(names)[:_NUM_NAMED])
    and_more = ", …" if len(names) > _NUM_NAMED else ""
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'} ({named}{and_more})"


def _is_quantized(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "config.json").read_bytes()).get("quantization_config"))
    except (OSError, ValueError, AttributeError):
        return False
