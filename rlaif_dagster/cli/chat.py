"""`rlaif chat`: base and aligned policy answer side by side."""

import contextlib
from pathlib import Path
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.prompt import Prompt
from rich.text import Text

from rlaif_dagster.errors import MissingInputError
from rlaif_dagster.generation.settings import LocalSamplingSettings
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.recall import view_version, work_folder
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.numerics import prepare_torch

POLICIES = {"base": "base_policy", "aligned": "aligned_policy"}


def chat_command(root: Path, prompt: str | None, *, temperature: float, seed: int) -> None:
    """Answers one prompt, or holds a conversation until an empty line.

    Raises:
        MissingInputError: If a policy has not been materialised.
        RlaifError: If a policy cannot be read.
    """
    project = Project.open(root)
    numerics = project.read_inputs().pipeline.numerics
    heads = project.ledger.find_heads()
    for asset in POLICIES.values():
        if asset not in heads:
            raise MissingInputError(
                f"{asset} has never been materialised.\n  remedy: run `rlaif run aligned_policy` first"
            )
    device = prepare_torch(num_threads=numerics.num_threads, device=numerics.device)
    console = Console()
    from rlaif_dagster.generation.chat import reply

    settings = LocalSamplingSettings(num_samples=1, temperature=temperature, max_new_tokens=256)
    with work_folder(project) as work:
        models = {}
        for name, asset in POLICIES.items():
            view_version(project, heads[asset], work / asset)
            model, tokenizer = open_causal_lm(work / asset, dtype="auto")
            on_device: Any = model  # transformers wraps `to` in a type of its own
            models[name] = (on_device.to(device), tokenizer)
        with contextlib.suppress(EOFError):
            question = prompt or Prompt.ask("you", console=console, default="", show_default=False)
            while question:
                answers = [
                    Panel(
                        Text(reply(model, tokenizer, question, settings=settings, seed=seed).text),
                        title=name,
                        width=max(console.width // 2 - 1, 20),
                    )
                    for name, (model, tokenizer) in models.items()
                ]
                console.print(Columns(answers))
                question = (
                    "" if prompt else Prompt.ask("you", console=console, default="", show_default=False)
                )
