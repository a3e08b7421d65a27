"""Model folders whose files do not fit together: each is the embedded policy with one fault."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from rlaif_dagster.models import embedded_path

WEIGHTS = "model.safetensors"
Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.norm.weight"
EMBEDDING = "model.embed_tokens.weight"

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Misfit:
    """A fault, and the words with which it is refused, as regular expressions."""

    make: Callable[[Path], None]
    words: tuple[str, ...]


def copy_policy(folder: Path) -> Path:
    """Copies the embedded policy."""
    return Path(shutil.copytree(embedded_path("policy"), folder))


def make_misfit(name: str, folder: Path) -> Path:
    """Copies the embedded policy and gives it a fault of `MISFITS`."""
    MISFITS[name].make(copy_policy(folder))
    return folder


def change_weights(folder: Path, change: Callable[[Weights], Weights]) -> None:
    """Writes other weights into a folder."""
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})


def change_config(folder: Path, **fields: Any) -> None:
    """Changes what config.json says."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def weights(change: Callable[[Weights], Weights]) -> Callable[[Path], None]:
    return lambda folder: change_weights(folder, change)


def without(*names: str) -> Callable[[Path], None]:
    return weights(lambda held: {key: value for key, value in held.items() if key not in names})


def with_more(**more: torch.Tensor) -> Callable[[Path], None]:
    return weights(lambda held: held | {key.replace("__", "."): value for key, value in more.items()})


def prefixed(prefix: str) -> Callable[[Path], None]:
    return weights(lambda held: {prefix + key: value for key, value in held.items()})


def cut(num_bytes: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / WEIGHTS, num_bytes)


def lose_a_shard(folder: Path) -> None:
    """Splits the weights over two files and an index, and leaves the second file out."""
    held = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    places = {key: shards[place % 2] for place, key in enumerate(sorted(held))}
    save_file(
        {key: value for key, value in held.items() if places[key] == shards[0]},
        folder / shards[0],
        metadata={"format": "pt"},
    )
    index = {"metadata": {}, "weight_map": places}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))


def shrink_embedding(folder: Path) -> None:
    """Takes the embedding's last rows away, from weights and config alike; the tokenizer stays."""
    change_weights(folder, lambda held: held | {EMBEDDING: held[EMBEDDING][:-8].clone()})
    change_config(folder, vocab_size=len(load_file(folder / WEIGHTS)[EMBEDDING]))


def name_adapters(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "base_model_name_or_path": "org/other"}'
    )


MISFITS = {
    "one missing": Misfit(
        without(Q_PROJ), (r"missing, of 39: 1 tensor \(model\.layers\.0\.self_attn\.q_proj",)
    ),
    "compiled": Misfit(prefixed("_orig_mod."), (r"missing, of 39: 3\d tensors", r"begin with '_orig_mod\.'")),
    "distributed": Misfit(prefixed("module."), (r"in the files, but not in the model: 38", "'module.'")),
    "more layers": Misfit(
        lambda folder: change_config(folder, num_hidden_layers=5), (r"missing, of 48: 9 .*layers\.4\.",)
    ),
    "fewer layers": Misfit(
        lambda folder: change_config(folder, num_hidden_layers=3),
        (r"in the files, but not in the model: 9 .*layers\.3\.",),
    ),
    "other shape": Misfit(
        weights(lambda held: held | {NORM: torch.ones(7)}),
        (r"of another shape: 1 tensor \(model\.norm\.weight\).*\(7,\).*\(128,\)",),
    ),
    "a bias more": Misfit(
        with_more(model__layers__0__self_attn__q_proj__bias=torch.ones(128)), (r"not in the model: 1 .*bias",)
    ),
    "a value head": Misfit(
        with_more(v_head__summary__weight=torch.ones(1, 128)), (r"not in the model: 1 .*v_head\.summary",)
    ),
    "cut short": Misfit(cut(100_000), (r"model\.safetensors is damaged or cut short \(100000 bytes",)),
    "empty file": Misfit(cut(0), (r"model\.safetensors is damaged or cut short \(0 bytes",)),
    "lost shard": Misfit(lose_a_shard, (r"names 1 file \(model-00002-of-00002\.safetensors\)",)),
    "small embedding": Misfit(shrink_embedding, (r"token ids up to 1663", "1656 rows")),
    "adapters": Misfit(name_adapters, (r"adapter_config\.json", "merge")),
}
"""By name."""
