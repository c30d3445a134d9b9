"""The list of all terms, and their weighted sum: eq. 9."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from vlocnetpp.losses.config import LossConfig
from vlocnetpp.losses.coordinates import coordinate_terms
from vlocnetpp.losses.depth import depth_terms
from vlocnetpp.losses.dsac import dsac_terms
from vlocnetpp.losses.mapnet import mapnet_terms
from vlocnetpp.losses.pose import odometry_terms, pose_terms
from vlocnetpp.losses.posenet import fixed_beta_terms, reprojection_terms
from vlocnetpp.losses.segmentation import segmentation_terms
from vlocnetpp.losses.term import Balance, Term
from vlocnetpp.losses.uncertainty import uncertainty_terms

LOCALIZATION = {
    "vlocnet": pose_terms,
    "mapnet": mapnet_terms,
    "fixed_beta": fixed_beta_terms,
    "reprojection": reprojection_terms,
    "dsac": dsac_terms,
}
"""The terms that compare poses, by `LossConfig.localization`."""
OTHERS: tuple[Callable[[LossConfig], tuple[Term, ...]], ...] = (
    odometry_terms, segmentation_terms, depth_terms, uncertainty_terms, coordinate_terms,
)  # fmt: skip
"""The terms of every run that has their task. A new term is added here."""
TASK_SCALARS = {"localization": "s_loc", "odometry": "s_vo"}
"""Scalars that weigh whole tasks where eq. 9 is taken literally. Segmentation has a single term, whose balance is its
task's scalar."""


def make_terms(config: LossConfig, tasks: Collection[str]) -> tuple[Term, ...]:
    """The terms of some tasks (`depth` is one here) under the choices of a configuration."""
    makers = (LOCALIZATION[config.localization], *OTHERS)
    return tuple(term for make in makers for term in make(config) if term.task in tasks)


class MultitaskLoss(nn.Module):
    """The weighted sum of terms, with their learnable scalars."""

    def __init__(self, terms: Iterable[Term], literal_eq9: bool = False) -> None:
        """Raises ValueError where terms of one name have different tasks or balances."""
        super().__init__()
        self.terms = tuple(terms)
        self.class_weights_C: Tensor | None
        self.register_buffer("class_weights_C", None, persistent=False)  # the trainer counts the pixels
        self._by_name: dict[str, Term] = {}
        for term in self.terms:
            same = self._by_name.setdefault(term.name, term)
            if (same.task, same.balance) != (term.task, term.balance):
                raise ValueError(f"two loss terms '{term.name}' differ in their task or balance")
        for balance in dict.fromkeys(term.balance for term in self._by_name.values() if term.balance is not None):
            self._add_scalar(balance)
        tasks = dict.fromkeys(term.task for term in self.terms if term.balance is not None)
        self._task_scalars = {task: TASK_SCALARS[task] for task in tasks if task in TASK_SCALARS and literal_eq9}
        for name in self._task_scalars.values():
            self._add_scalar(Balance(name))

    def _add_scalar(self, balance: Balance) -> None:
        group, _, name = balance.name.rpartition(".")
        if group and group not in self._modules:
            self.add_module(group, nn.Module())
        self.get_submodule(group).register_parameter(name, nn.Parameter(torch.tensor(balance.initial)))

    def scalars(self) -> dict[str, float]:
        """The learnable scalars s by the names of their balances."""
        return {name: float(value.detach()) for name, value in self.named_parameters()}

    def forward(self, means: Mapping[str, Tensor], share: float = 1.0) -> Tensor:
        """The total of the terms that are present: L exp(-s) + s for a term with a balance, L for one without.

        Args:
            means: by the name of the term.
            share: of the batch that the means are the contribution of; the totals of all parts add up.

        Raises ValueError where no term is present.
        """
        if not means:
            raise ValueError("no frame of the batch has a label for any task of the network")
        parts: list[Tensor] = []
        tasks: dict[str, Tensor] = {}
        for name, mean in means.items():
            term = self._by_name[name]
            if term.balance is None:
                parts.append(mean)
                continue
            weighted = self._weigh(mean, term.balance.name, share)
            tasks[term.task] = tasks[term.task] + weighted if term.task in tasks else weighted
        for task, loss in tasks.items():
            scalar = self._task_scalars.get(task)
            parts.append(loss if scalar is None else self._weigh(loss, scalar, share))
        return torch.stack(parts).sum()

    def _weigh(self, loss: Tensor, scalar: str, share: float) -> Tensor:
        s = self.get_parameter(scalar)
        return loss * torch.exp(-s) + share * s
