"""Handles weights that are sharded over processes (FSDP), and gathers them. Needs torch and accelerate.

Known trade-off (accepted): while a policy is measured or saved, each process has all of its weights in memory.
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
    """Enables FSDP for a trainer on a CPU, where accelerate does not; refuses unsupported options.

    Raises:
        TrainingError: If the config file asks for something unsupported, or the method cannot use sharded weights.
    """
    state = trainer.accelerator.state
    wanted = FullyShardedDataParallelPlugin() if _asks_for("FSDP") else None
    if _asks_for("DEEPSPEED") and state.device.type == "cpu":
        raise TrainingError(f"DeepSpeed is not supported on a CPU.\n{_REMEDY}set FSDP")
    if trainer.is_deepspeed_enabled and state.deepspeed_plugin.zero_stage > _MAX_ZERO_STAGE:
        raise TrainingError(
            f"DeepSpeed's stage {state.deepspeed_plugin.zero_stage} shards weights, which is supported only with "
            f"FSDP.\n{_REMEDY}set `zero_stage: {_MAX_ZERO_STAGE}`, or use FSDP"
        )
    if wanted is None:
        return
    if wanted.fsdp_version != _FSDP:
        raise TrainingError(
            f"FSDP {wanted.fsdp_version} is not supported, only FSDP {_FSDP} is.\n"
            f"{_REMEDY}set `fsdp_version: {_FSDP}`"
        )
    if "SHARDED" not in str(wanted.state_dict_type):
        raise TrainingError(
            f"FSDP restart points of type {wanted.state_dict_type} are not supported, only sharded ones are.\n"
            f"{_REMEDY}set `fsdp_state_dict_type: SHARDED_STATE_DICT`"
        )
    if not trainer.takes_shards:
        raise TrainingError(
            f"a policy that samples during training cannot have sharded weights.\n{_REMEDY}switch FSDP off, or set "
            "`policy.method` to dpo or best_of_n"
        )
    if state.mixed_precision != "no" or hasattr(trainer.model, "peft_config"):
        raise TrainingError(
            "sharded weights are supported only in float32 and without adapters.\n"
            "  remedy: set `dtype: float32` and `lora: null`, or switch FSDP off"
        )
    if not trainer.is_fsdp_enabled:
        state.distributed_type, state.fsdp_plugin = DistributedType.FSDP, wanted
        trainer.is_fsdp_enabled = True


@contextmanager
def whole_weights(model: Any) -> Iterator[None]:
    """Inside the context, each process has all weights of a sharded model, and can compute with it alone.

    Changes of the weights inside are lost. Other models are unchanged. All processes must enter and leave.
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
    """Reads the weights of a sharded model for its folder, inside `whole_weights`; None for another model."""
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
