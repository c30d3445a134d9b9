"""One step of the optimizer: the trained parameters, the loss of a batch in parts, and the optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vlocnetpp.losses import MultitaskLoss
from vlocnetpp.network import Network
from vlocnetpp.network.contract import decayed_parameters, front_parts, frozen_parts
from vlocnetpp.training.clips import Clips
from vlocnetpp.training.config import StageConfig, TrainConfig
from vlocnetpp.training.datasets import TrainingError
from vlocnetpp.training.devices import sum_everywhere
from vlocnetpp.training.stage import stage_terms
from vlocnetpp.training.unroll import depth_means, unroll

GRADIENT_NORM = 20.0


class ClipLoss(nn.Module):
    """The loss of clips under a stage as one forward call, which Fabric can distribute over processes."""

    def __init__(self, network: Network, loss: MultitaskLoss, stage: StageConfig, config: TrainConfig) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.stage, self.truncate, self.leak_probe = stage, config.data.truncate, config.leak_probe
        self.terms = stage_terms(loss, network, stage)

    def forward(
        self, clips: tuple[Tensor, ...], counts: dict[str, float], share: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total and its terms.

        Args:
            clips: the fields of `Clips`, on the network's device: a part of the batch.
            counts: labels of the whole batch of all processes.
            share: of the batch in this part, together with the same part of the other processes.

        Returns:
            The total, and the detached terms of the part of all processes; both add up over the parts.
        """
        part = Clips(*clips)
        if self.stage.tasks == ("depth",):
            means = depth_means(self.network, part, self.terms, counts)
        else:
            means, _ = unroll(
                self.network, part, self.terms, counts, self.truncate, self.leak_probe, self.loss.class_weights_C
            )
        if not means:
            needed = ", ".join(dict.fromkeys(name for term in self.terms for name in term.needs))
            raise TrainingError(f"stage '{self.stage.name}': the network predicts none of {needed} that has a label")
        together = sum_everywhere(torch.stack([value.float() for value in means.values()]))
        means = dict(zip(means, together.unbind(), strict=True))
        return self.loss(means, share), {name: value.detach() for name, value in means.items()}


def parameter_groups(
    network: Network, loss: MultitaskLoss, depth: bool, decay: float, front_rate: float = 0.0, mapped: bool = False
) -> list[dict[str, Any]]:
    """Parameters with decay, see `decayed_parameters`, and the others; losses' weights have none.

    The depth stage trains the depth network alone; other stages leave `frozen_parts` as they are, but for the front
    where `front_rate` is positive. Each group has a `factor` for the learning rate; `mapped` as in `frozen_parts`.
    """
    depth_network = network.depth_network()
    of_depth = set(depth_network.parameters()) if depth_network is not None else set()
    still = {parameter for part in frozen_parts(network, mapped) for parameter in part.parameters()}
    front = {parameter for part in front_parts(network) for parameter in part.parameters()} if front_rate else set()
    pulled = set(decayed_parameters(network))
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {(f, d): [] for f in (False, True) for d in (True, False)}
    for _, parameter in network.named_parameters():
        trains = parameter in of_depth if depth else parameter in front or parameter not in still
        parameter.requires_grad_(trains)
        if trains:
            groups[parameter in front, parameter in pulled].append(parameter)
    if not depth:
        groups[False, False] += [parameter for parameter in loss.parameters() if parameter.requires_grad]
    return [
        {"params": members, "weight_decay": decay if decays else 0.0, "factor": front_rate if of_front else 1.0}
        for (of_front, decays), members in groups.items()
        if members or not of_front
    ]


def make_optimizer(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.Optimizer:
    """Adam with the configuration's constants and decoupled weight decay."""
    first, second = config.betas
    return torch.optim.AdamW(groups, lr=0.0, betas=(first, second), eps=config.eps)


def split_clips(clips: Clips, parts: int) -> list[tuple[Tensor, ...]]:
    """The fields of a batch of at least so many clips, in nearly equal parts."""
    fields = tuple(vars(clips).values())
    return list(zip(*(torch.tensor_split(field, parts) for field in fields), strict=True))
