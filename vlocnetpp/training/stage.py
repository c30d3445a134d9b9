"""A stage of the schedule: its part of the network, its loss terms, and its frozen parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from vlocnetpp.errors import ConfigError
from vlocnetpp.losses import MultitaskLoss, Term, select_terms, term_names
from vlocnetpp.network import Network
from vlocnetpp.training.config import StageConfig


def stage_part(network: Network, stage: StageConfig) -> Network:
    """The part of a network that a stage runs, with the same parameters: the whole of it in a stage of depth."""
    return network if stage.tasks == ("depth",) else network.part_for(stage.tasks)


def has_parts(network: Network, stage: StageConfig) -> bool:
    """Whether a stage of single tasks runs a part of the network; some networks are always run whole."""
    return set(network.config.tasks) <= set(stage.tasks) or stage_part(network, stage) is not network


def trained_before(network: Network, stages: Sequence[StageConfig], number: int) -> list[nn.Parameter]:
    """Parameters of a stage's part that an earlier stage has trained too. Empty for a network whose tasks cannot be
    trained separately.
    """
    earlier = [stage for stage in stages[:number] if stage.tasks != ("depth",) and has_parts(network, stage)]
    known = {id(parameter) for stage in earlier for parameter in stage_part(network, stage).parameters()}
    return [parameter for parameter in stage_part(network, stages[number]).parameters() if id(parameter) in known]


def check_frozen(network: Network, stages: Sequence[StageConfig]) -> list[str]:
    """Notes on stages whose `frozen_shared` has no effect, as the tasks of the network cannot be trained separately.

    Raises ConfigError for a stage with `frozen_shared` that shares nothing with an earlier one, or everything.
    """
    notes = []
    for number, stage in enumerate(stages):
        if not stage.frozen_shared:
            continue
        if not has_parts(network, stage):
            preset = network.config.name
            notes.append(
                f"stage '{stage.name}': the tasks of '{preset}' cannot be trained apart; frozen_shared does nothing"
            )
            continue
        frozen = len(trained_before(network, stages, number))
        if frozen == 0:
            raise ConfigError(f"stage '{stage.name}': frozen_shared, but no earlier stage trains a part of it")
        if frozen == len(list(stage_part(network, stage).parameters())):
            raise ConfigError(
                f"stage '{stage.name}': frozen_shared leaves nothing to train; earlier stages train all of it"
            )
    return notes


def freeze(parameters: Iterable[nn.Parameter]) -> None:
    """Freeze parameters; `parameter_groups` of the next stage makes them trainable again."""
    for parameter in parameters:
        parameter.requires_grad_(False)


def stage_terms(loss: MultitaskLoss, network: Network, stage: StageConfig) -> tuple[Term, ...]:
    """The terms of a run that a stage trains: those of its tasks that the network has; depth is trained alone.

    Raises ConfigError where the stage names a term that there is not.
    """
    depth_stage = stage.tasks == ("depth",)
    tasks = stage.tasks if depth_stage else [task for task in stage.tasks if task in network.config.tasks]
    terms = select_terms(loss.terms, tasks, stage.consistency)
    known = term_names(terms)
    for name in stage.terms:
        if name not in known:
            raise ConfigError(f"stage '{stage.name}': trains no term '{name}'; there are {', '.join(known)}")
    return tuple(term for term in terms if not stage.terms or term.name in stage.terms)
