"""`rlaif chat`: the base, the aligned and the released policy answer side by side."""

import contextlib
from pathlib import Path
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.prompt import Prompt
from rich.text import Text

from rlaif_dagster.errors import MissingInputError
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.releases import ReleaseHistory, find_policy
from rlaif_dagster.lineage.reuse import work_folder
from rlaif_dagster.lineage.services import view_version
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.names import ALIGNED_POLICY, BASE_POLICY
from rlaif_dagster.numerics import prepare_torch

POLICIES = {"base": BASE_POLICY, "aligned": ALIGNED_POLICY}


def find_policies(project: Project) -> dict[str, MaterialisationRecord]:
    """Finds the policies to talk to, by name: the newest ones, and the released one if it is not the newest.

    Raises:
        MissingInputError: If a policy has not been materialised.
    """
    heads = project.ledger.find_heads()
    for asset in POLICIES.values():
        if asset not in heads:
            raise MissingInputError(
                f"{asset} has never been materialised.\n  remedy: run `rlaif run aligned_policy` first"
            )
    policies = {name: heads[asset] for name, asset in POLICIES.items()}
    current = ReleaseHistory.from_records(project.ledger.records()).current
    if current is not None and str(current.policy) != policies["aligned"].output.digest:
        policies["released"] = find_policy(project, current)
    return policies


def chat_command(
    root: Path, prompt: str | None, *, remote: bool = False, temperature: float, seed: int
) -> None:
    """Answers one prompt, or talks until an empty line is entered.

    Raises:
        MissingInputError: If a policy has not been materialised.
        RlaifError: If a policy cannot be read.
    """
    project = Project.open(root, uses_remote=remote)
    numerics = project.read_inputs().pipeline.numerics
    policies = find_policies(project)
    device = prepare_torch(num_threads=numerics.num_threads, device=numerics.device)
    console = Console()
    from rlaif_dagster.generation.chat import reply

    settings = LocalSamplingSettings(num_samples=1, temperature=temperature, max_new_tokens=256)
    with work_folder(project) as work:
        models = {}
        for name, record in policies.items():
            view_version(project, record, work / name)
            model, tokenizer = open_causal_lm(work / name, dtype="auto")
            on_device: Any = model  # transformers wraps `to` in its own type
            models[name] = (on_device.to(device), tokenizer)
        with contextlib.suppress(EOFError):
            question = prompt or Prompt.ask("you", console=console, default="", show_default=False)
            while question:
                answers = [
                    Panel(
                        Text(reply(model, tokenizer, question, settings=settings, seed=seed).text),
                        title=name,
                        width=max(console.width // len(models) - 1, 20),
                    )
                    for name, (model, tokenizer) in models.items()
                ]
                console.print(Columns(answers))
                question = (
                    "" if prompt else Prompt.ask("you", console=console, default="", show_default=False)
                )
