"""Weights that are sharded over processes (FSDP), and how they are had whole. Needs torch and accelerate.

Known trade-off (accepted): while a policy is measured or saved, each process holds all of its weights.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.modeling import get_non_persistent_buffers
from torch.distributed.fsdp import FSDPModule

from rlaif_dagster.errors import TrainingError

_FSDP: Final = 2
_MAX_ZERO_STAGE: Final = 2
_REMEDY: Final = "  remedy: in the file that `launch.config_file` names, "


def take_up_sharding(trainer: Any) -> None:
    """Tells a trainer on a CPU of FSDP, which accelerate takes up on accelerators only; refuses what is not known here.

    Raises:
        TrainingError: If the config file asks for what is not known here, or the method takes no sharded weights.
    """
    state = trainer.accelerator.state
    wanted = FullyShardedDataParallelPlugin() if _asks_for("FSDP") else None
    if _asks_for("DEEPSPEED") and state.device.type == "cpu":
        raise TrainingError(f"DeepSpeed does not train on a CPU here.\n{_REMEDY}ask for FSDP")
    if trainer.is_deepspeed_enabled and state.deepspeed_plugin.zero_stage > _MAX_ZERO_STAGE:
        raise TrainingError(
            f"DeepSpeed's stage {state.deepspeed_plugin.zero_stage} shards weights, which are had whole here only of "
            f"FSDP.\n{_REMEDY}set `zero_stage: {_MAX_ZERO_STAGE}`, or ask for FSDP"
        )
    if wanted is None:
        return
    if wanted.fsdp_version != _FSDP:
        raise TrainingError(
            f"FSDP {wanted.fsdp_version} is asked for, and only FSDP {_FSDP} is known here.\n"
            f"{_REMEDY}set `fsdp_version: {_FSDP}`"
        )
    if "SHARDED" not in str(wanted.state_dict_type):
        raise TrainingError(
            f"FSDP is to keep restart points as {wanted.state_dict_type}, and only sharded ones are known here.\n"
            f"{_REMEDY}set `fsdp_state_dict_type: SHARDED_STATE_DICT`"
        )
    if not trainer.takes_shards:
        raise TrainingError(
            f"a policy that samples as it learns cannot have sharded weights here.\n{_REMEDY}ask for no FSDP, or set "
            "`policy.method` to one that does not, such as dpo"
        )
    if state.mixed_precision != "no" or hasattr(trainer.model, "peft_config"):
        raise TrainingError(
            "sharded weights are known here in float32 and without adapters only.\n"
            "  remedy: set `dtype: float32` and `lora: null`, or ask for no FSDP"
        )
    if not trainer.is_fsdp_enabled:
        state.distributed_type, state.fsdp_plugin = DistributedType.FSDP, wanted
        trainer.is_fsdp_enabled = True


@contextmanager
def whole_weights(model: Any) -> Iterator[None]:
    """Inside, each process holds all weights of a sharded model, and may compute with it by itself.

    What is written to the weights inside is not kept. Other models stay as they are. All processes enter and leave.
    """
    shards = [module for module in model.modules() if isinstance(module, FSDPModule)]
    frees = [_frees_after_forward(module) for module in shards]
    for module in shards:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module, free in zip(shards, frees, strict=True):
            module.set_reshard_after_forward(free, recurse=False)
            module.reshard()


def read_whole_weights(model: Any) -> dict[str, torch.Tensor] | None:
    """The weights of a sharded model as its folder holds them, inside `whole_weights`; None of another model."""
    if not any(isinstance(module, FSDPModule) for module in model.modules()):
        return None
    passing = get_non_persistent_buffers(model, recurse=True, fqns=True)
    buffers = {name: buffer for name, buffer in model.named_buffers() if name not in passing}
    return {name: weight.detach() for name, weight in model.named_parameters()} | buffers


def _frees_after_forward(module: FSDPModule) -> bool:
    groups = module._get_fsdp_state()._fsdp_param_groups
    return any(group.post_forward_mesh_info is not None for group in groups)


def _asks_for(kind: str) -> bool:
    return os.environ.get(f"ACCELERATE_USE_{kind}", "").lower() == "true"
