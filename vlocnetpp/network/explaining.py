"""Layers and scalars that networks built of the shared blocks offer for an explanation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vlocnetpp.geometry import rotation_angle
from vlocnetpp.network.blocks.heads import PoseHead
from vlocnetpp.network.blocks.localization import LocalizationStream
from vlocnetpp.network.blocks.scene_coordinates import CoordinateHead
from vlocnetpp.network.blocks.trunk import Trunk
from vlocnetpp.network.blocks.units import Front, Stage
from vlocnetpp.network.config import SceneConfig
from vlocnetpp.network.contract import Explanation
from vlocnetpp.step import Answer

LAST = "last"
"""Name of the last map, after its norm and activation: the input of the pooling or of the solver."""


def unit_layers(stages: dict[str, Stage]) -> dict[str, nn.Module]:
    """The residual units of stages by the paper's names: `res4c`; taken at their end, before the next unit's norm."""
    return {
        f"{stage}{letter}": unit for stage, module in stages.items() for letter, unit in zip("abcdef", module.blocks)
    }


def explain_regression(front: Front, res4: Stage, stream: LocalizationStream) -> Explanation:
    """For a pose that a head regresses: the layers that it depends on, and how far the features move it.

    A pose has no score, so the scalar is how far the features move the answer from the one that the head gives without
    any (its biases: the middle of the map).
    """
    layers = unit_layers({"res2": front.res2, "res3": front.res3, "res4": res4, "res5": stream.res5})
    for name, fusion in (("semantic_fusion", stream.semantic_fusion), ("past_fusion", stream.past_fusion)):
        if fusion is not None:
            layers[name] = fusion
    return Explanation({**layers, LAST: stream.head.act}, stream.head.elu, regression_scalars(stream.head))


def regression_scalars(head: PoseHead) -> dict[str, Callable[[Answer, Tensor], Tensor]]:
    """How far the features move the answered position and rotation."""
    return {
        "position": lambda answer, features_BC: head.position_evidence(features_BC),
        "rotation": lambda answer, features_BC: head.rotation_evidence(features_BC),
    }


def explain_solved_pose(layers: dict[str, nn.Module], features: nn.Module, scene: SceneConfig) -> Explanation:
    """For a pose that is solved: its distance from the middle of the map, differentiated through the solver."""

    def position(answer: Answer, _: Tensor) -> Tensor:
        middle = torch.tensor(scene.position_centre, dtype=answer["pose_B7"].dtype, device=answer["pose_B7"].device)
        return torch.linalg.vector_norm(answer["pose_B7"][:, :3] - middle, dim=1) / scene.position_spread

    def rotation(answer: Answer, _: Tensor) -> Tensor:
        upright = torch.zeros_like(answer["pose_B7"][:, 3:])
        upright[:, 0] = 1.0
        return rotation_angle(upright, answer["pose_B7"][:, 3:])

    return Explanation(layers, features, {"position": position, "rotation": rotation})


def explain_trunk(trunk: Trunk, features: nn.Module, scene: SceneConfig, last: nn.Module | None = None) -> Explanation:
    """For a pose that rests on a whole trunk: how far it lies from the middle of the map.

    Args:
        features: see `Explanation`.
        last: the map that the head reads, where it is not that of the trunk.
    """
    stages = {"res2": trunk.res2, "res3": trunk.res3, "res4": trunk.res4, "res5": trunk.res5}
    return explain_solved_pose({**unit_layers(stages), LAST: last or trunk.act}, features, scene)


def explain_coordinates(front: Front, head: CoordinateHead, centre: tuple[float, ...], spread: float) -> Explanation:
    """For a pose that is solved from scene coordinates: the layers that these depend on, and the distance of the solved
    pose from the middle of the map, differentiated through the solver.

    Args:
        centre, spread: of the training positions, metres.
    """
    layers = unit_layers({"res2": front.res2, "res3": front.res3})
    layers |= {f"coordinates{letter}": unit for letter, unit in zip("abcdef", head.units)}

    def position(answer: Answer, features: Tensor) -> Tensor:
        middle = torch.tensor(centre, dtype=answer["pose_B7"].dtype, device=answer["pose_B7"].device)
        return torch.linalg.vector_norm(answer["pose_B7"][:, :3] - middle, dim=1) / spread

    def rotation(answer: Answer, features: Tensor) -> Tensor:
        upright = torch.zeros_like(answer["pose_B7"][:, 3:])
        upright[:, 0] = 1.0
        return rotation_angle(upright, answer["pose_B7"][:, 3:])

    return Explanation({**layers, LAST: head.act}, head.act, {"position": position, "rotation": rotation})
