"""DSAC (Brachmann et al., 2017): scene coordinates of one image, and a pose chosen among hypotheses by a network.

Without its losses (`losses/dsac.py`) it is RANSAC. DSAC++ (`dsacpp.py`) is the same with another score.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vlocnetpp.errors import ConfigError
from vlocnetpp.network.blocks.cell_coordinates import cell_rays
from vlocnetpp.network.blocks.differentiable_ransac import DifferentiableRansac, ScoreNetwork, SoftInlierCount
from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.scene_coordinates import STRIDE, CoordinateHead
from vlocnetpp.network.blocks.units import ACTIVATIONS, Front
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice
from vlocnetpp.network.contract import Entry, Explanation, Network, Paper
from vlocnetpp.network.explaining import explain_coordinates
from vlocnetpp.step import Prediction, State

NETWORK, SOFT_INLIERS = "network", "soft_inliers"


@dataclass(frozen=True)
class DsacSettings:
    """The network's settings."""

    score: str = NETWORK
    """What a hypothesis is judged by: `network`, convolutions on the image of its reprojection errors (2017), or
    `soft_inliers`, how many points are near their rays (2018)."""
    hypotheses: int = 64
    """Poses among which one is chosen; half as many while training."""
    inlier_angle: float = 0.03
    """Tangent of the angle between a scene point and its ray at which it is half an inlier. The papers' 10 pixels of a
    7-Scenes image are 0.017; half a cell of an image of 160 pixels is 0.03."""
    depth_in_training: bool = True
    """Whether training needs the depth of posed frames; else the cells of unknown depth begin at a constant one, and
    views from several places decide how far they are."""
    activation: str = "elu"
    """`elu` or `relu`."""

    def __post_init__(self) -> None:
        require_choice("score", self.score, (NETWORK, SOFT_INLIERS))
        require_choice("activation", self.activation, tuple(ACTIVATIONS))
        if self.hypotheses < 4:
            raise ConfigError(f"hypotheses: {self.hypotheses} is not at least 4")
        if not 0 < self.inlier_angle < 1:
            raise ConfigError(f"inlier_angle: {self.inlier_angle} is not within 0 and 1")

    @property
    def traits(self) -> Traits:
        return Traits(
            tasks=("localization",),
            answers_coordinates=True,
            depth_optional=not self.depth_in_training,
            chooses_hypothesis=True,
        )


class Dsac(nn.Module):
    """The trunk to its Res3, scene coordinates, and differentiable RANSAC."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        own: DsacSettings = config.settings
        scene, width = config.scene, config.width
        self.normalize = Normalize()
        self.front = Front(3, width, own.activation)
        self.coordinates = CoordinateHead(
            self.front.out_channels, width, own.activation, scene.scene_centre, scene.scene_spread
        )
        self.ransac = DifferentiableRansac(own.hypotheses, own.inlier_angle)
        self.score = ScoreNetwork(width) if own.score == NETWORK else SoftInlierCount()
        self.inlier_angle, self.stride = own.inlier_angle, STRIDE
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`. The expected error is that of the normal equations, where an inlier's own error is
        the inlier angle."""
        coordinates_B4HW = self.coordinates(self.front(self.normalize(image_B3HW)))
        rows, columns = coordinates_B4HW.shape[2], coordinates_B4HW.shape[3]
        points_BN3 = coordinates_B4HW[:, :3].flatten(2).transpose(1, 2)
        rays_BN3 = cell_rays(K_B33, rows, columns, self.stride).to(points_BN3.dtype)
        pool = self.ransac(points_BN3, rays_BN3)
        scores_BH, scale_B = self.score((pool.tangent_BHN / self.inlier_angle).unflatten(2, (rows, columns)))
        found = self.ransac.best(pool, scores_BH, points_BN3, rays_BN3)
        prediction = {
            "pose_B7": found.pose_B7,
            "log_scale_B2": found.deviation_B2.detach().clamp_min(1e-6).log().clamp(-8.0, 4.0),
            "coordinates_B4HW": coordinates_B4HW,
        }
        if self.training:
            prediction["hypotheses_BH7"] = self.ransac.refined(pool, points_BN3, rays_BN3)
            prediction["scores_BH"], prediction["score_scale_B"] = scores_BH, scale_B
        new_state: dict[str, Tensor] = {}
        return prediction, new_state

    def parts(self) -> dict[str, str]:
        return {
            "front.stem": "front",
            "front.res2": "front",
            "front.res3": "front",
            "coordinates": "coordinates",
            "ransac": "coordinates",
            "score": "coordinates",
        }

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        return self

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return {"front.stem": "stem", "front.res2": "res2", "front.res3": "res3"}

    def explanation(self) -> Explanation:
        scene = self.config.scene
        return explain_coordinates(self.front, self.coordinates, scene.position_centre, scene.position_spread)


COMMON = (
    "Each triple is solved by Newton steps from five starts, and the fourth point chooses, not by a closed form",
    "A point is half an inlier at a tangent of 0.03, since images are smaller, not at 10 pixels, which are 0.017",
    "A set of points is not drawn again where its pose does not fit it; its score is low",
    "64 hypotheses, 32 while training, not 256; outside of training always of the same sets of cells",
    "Refined by Gauss-Newton steps with soft inliers as weights; gradients pass through the last step and the scores",
    "An error of e costs e / (1 + e / 100), where e is the larger of centimetres and degrees",
    "The network also predicts how uncertain a coordinate is, and learns that with the coordinates",
)
ENTRIES = (
    Entry(
        "dsac",
        Dsac,
        DsacSettings,
        "Scene coordinates and hypotheses, which a network scores; the expected error of the choice is learned from",
        papers=(
            Paper(
                "DSAC - Differentiable RANSAC for Camera Localization",
                "Brachmann, Krull, Nowozin, Shotton, Michel, Gumhold, Rother",
                2017,
                "CVPR",
            ),
        ),
        loss={"localization": "dsac"},
        published=(("7-Scenes RedKitchen", "0.05 m, 2.0 deg"),),
        departures=(
            "Coordinates of all cells from the common trunk's Res3, not of 1600 patches by a VGG-like network",
            "The score network has three convolutions, and learns with the coordinates held by their own loss",
            *COMMON,
        ),
    ),
)
