"""TRL's online trainers with this package's sampling. Needs torch and trl: import it lazily."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Sampler
from trl import GRPOTrainer, RLOOTrainer
from trl.trainer.utils import add_fused_lm_head

from rlaif_dagster.decoding import decode
from rlaif_dagster.generation.dialogues import encode_prompt
from rlaif_dagster.seeds import derive_seed
from rlaif_dagster.training.trainers import QuietTrainer, require_finite_weights


class EpochOrder(Sampler[int]):
    """TRL's order of prompts. Each epoch draws it from its own number, so a restarted training gets the same order."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[int]:
        return iter(self._sampler)

    def __len__(self) -> int:
        return len(self._sampler)

    def set_epoch(self, epoch: int) -> None:
        """Sets the next epoch."""
        self._sampler.generator.manual_seed(derive_seed(self._sampler.seed, "epoch", epoch))


class SampledTrainer(QuietTrainer):
    """Common part of the online trainers: answers are sampled as everywhere in this package (`decoding`).

    Each answer has its own seed, from step and index, so it depends on no generator's state. Prompts are plain texts.
    """

    takes_shards = False

    def hold_to(self, reference: Any) -> None:
        """Sets another reference policy than TRL's, which is the policy before training.

        Args:
            reference: The reference policy, on its device; its head is changed as TRL changes its own.
        """
        trainer: Any = self
        add_fused_lm_head(reference, temperature=trainer.temperature)
        trainer.ref_model = trainer.accelerator.prepare_model(reference, evaluation_mode=True)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        trainer: Any = self
        return [encode_prompt(trainer.processing_class, prompt) for prompt in prompts], None, {}

    def _get_train_sampler(self, *args: Any) -> "EpochOrder":
        trl: Any = super()  # a trainer of TRL
        return EpochOrder(trl._get_train_sampler(*args))

    def _answer(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        trainer: Any = self
        model = trainer.accelerator.unwrap_model(trainer.model)
        require_finite_weights(model, self.state.global_step)
        model.eval()
        try:
            return decode(
                model.get_base_model() if hasattr(model, "get_base_model") else model,
                trainer.processing_class,
                prompt_ids,
                [
                    derive_seed(
                        trainer.args.seed,
                        "rollout",
                        self.state.global_step,
                        trainer.args.process_index,
                        place,
                    )
                    for place in range(len(prompt_ids))
                ],
                max_new_tokens=trainer.max_completion_length,
            )
        finally:
            model.train()


class SampledRlooTrainer(SampledTrainer, RLOOTrainer):
    """TRL's RLOOTrainer with this package's sampling."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any) -> list[list[int]]:
        return self._answer(prompt_ids)


class SampledGrpoTrainer(SampledTrainer, GRPOTrainer):
    """TRL's GRPOTrainer with this package's sampling."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any) -> tuple[list[list[int]], None]:
        return self._answer(prompt_ids), None
