"""The flagship: pose, odometry and masks from one network, each pose the answer of a solver (beyond the paper).

VLocNet++'s streams stay: localization and odometry have their Res4 and Res5, segmentation is fused into localization,
features of the previous frame are warped into segmentation and fused into localization (eq. 7 and 8). What changes is
their input and how poses are computed. All begin from one front with ImageNet weights. The global pose is solved from
scene coordinates, the motion from the warping residual with the depth that the scene coordinates give; the regressed
pose is returned where a solver fails, and is one hypothesis of the global pose's solver.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vlocnetpp.errors import ConfigError
from vlocnetpp.geometry import compose, inverse, rotation_matrix, scale_intrinsics
from vlocnetpp.network.blocks.alignment import DirectAlignment, grey_image
from vlocnetpp.network.blocks.cell_coordinates import CellCoordinates, cell_rays
from vlocnetpp.network.blocks.efficientnet_lite import (
    INPUT_DEVIATION,
    INPUT_MEAN,
    VARIANTS,
    EfficientNetLite,
    attribution,
    load_imagenet,
)
from vlocnetpp.network.blocks.fusion import FUSIONS
from vlocnetpp.network.blocks.hypercolumns import STRIDE, Hypercolumns
from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.localization import LocalizationStream
from vlocnetpp.network.blocks.mahalanobis import MahalanobisScore
from vlocnetpp.network.blocks.multiscale_decoder import MultiscaleDecoder
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.odometry import OdometryStream
from vlocnetpp.network.blocks.pose_hypotheses import PoseHypotheses
from vlocnetpp.network.blocks.sharing import existing, without
from vlocnetpp.network.blocks.units import ACTIVATIONS, scaled
from vlocnetpp.network.blocks.warped_fusion import WarpedFusion
from vlocnetpp.network.blocks.warping import warping_flow
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice, require_dropout
from vlocnetpp.network.contract import Entry, Explanation, Network, Paper
from vlocnetpp.network.explaining import LAST, explain_solved_pose
from vlocnetpp.step import LOCALIZATION, ODOMETRY, SEGMENTATION, TASKS, Prediction, State

MIN_INLIERS = 0.15
"""With a smaller share of the cells in agreement the regressed pose is returned."""
SMALLEST = 48
"""Pixels of an input's shorter side that the alignment of two images needs."""
MAX_ANGLE = 0.05
"""Radians between a cell's point and its ray, beyond which its depth is unknown."""


@dataclass(frozen=True)
class RobotSettings:
    """The network's settings."""

    tasks: tuple[str, ...] = TASKS
    """Which of localization, odometry and segmentation it answers."""
    front: str = "lite0"
    """EfficientNet, shared by all streams: lite0, lite1 or lite2."""
    imagenet: bool = True
    """Whether it begins from ImageNet weights; random ones are of use only to compare with."""
    hidden: int = 320
    """Channels of the scene coordinates' layers."""
    residuals: int = 3
    """Residual blocks of the scene coordinates."""
    descriptor: int = 0
    """Channels of a descriptor of the whole image that the scene coordinates see; 0: none. It keeps places apart that
    look alike from near, such as two equal doors."""
    regions: int = 0
    """Into so many the place is divided for the scene coordinates: a cell is assigned to regions, then placed within
    them; 0: no regions. `robot.yaml` takes 32."""
    decoder: int = 96
    """Channels of segmentation's decoder."""
    past: bool = True
    """Whether features of the previous frame are fused into localization and, warped, into segmentation."""
    semantics: bool = True
    """Whether segmentation is fused into localization's Res4."""
    fusion: str = "adaptive"
    """`adaptive` (eq. 8) or `concat` (linear 1x1 of the concatenation)."""
    activation: str = "elu"
    """Of the streams: `elu` (the paper) or `relu`."""
    dropout: float = 0.2
    """After fc1 of the regressors, while training."""

    def __post_init__(self) -> None:
        require_choice("front", self.front, tuple(VARIANTS))
        require_choice("fusion", self.fusion, tuple(FUSIONS))
        require_choice("activation", self.activation, tuple(ACTIVATIONS))
        require_dropout(self.dropout)
        if min(self.hidden, self.residuals, self.decoder) < 1 or min(self.descriptor, self.regions) < 0:
            raise ConfigError("hidden, residuals and decoder must be at least 1, descriptor and regions at least 0")

    @property
    def traits(self) -> Traits:
        weights = (attribution(self.front),) if self.imagenet else ()
        return Traits(tasks=self.tasks, trains_cells=self.solves, chooses_hypothesis=self.solves, attribution=weights)

    @property
    def solves(self) -> bool:
        """Whether the tasks include a pose or a motion, which are solved from scene coordinates."""
        return LOCALIZATION in self.tasks or ODOMETRY in self.tasks


class Robot(nn.Module):
    """Front, scene coordinates and their solver, and the streams."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        own: RobotSettings = config.settings
        self.normalize = Normalize()
        self.normalize.adopt((INPUT_MEAN / 255,) * 3, (INPUT_DEVIATION / 255,) * 3)
        scene, width = config.scene, config.width
        if ODOMETRY in own.tasks and min(config.view.height, config.view.width_px) < SMALLEST:
            raise ConfigError(f"height, width_px: odometry needs an input of at least {SMALLEST} pixels along each")
        shared = scaled(512, width)
        self.front = EfficientNetLite(own.front)
        self.hypercolumns = Hypercolumns(self.front.channels)
        channels = self.hypercolumns.channels
        self.novelty = self.coordinates = self.solver = self.shared = None
        if own.solves:
            self.novelty = MahalanobisScore(channels)
            self.coordinates = CellCoordinates(
                channels, own.hidden, own.residuals, own.descriptor, scene.scene_centre, scene.scene_spread,
                own.regions,
            )  # fmt: skip
            self.solver = PoseHypotheses()
            self.shared = nn.Sequential(nn.Conv2d(channels, shared, 1, bias=False), nn.BatchNorm2d(shared))
        self.segmentation = None
        if SEGMENTATION in own.tasks:
            self.segmentation = MultiscaleDecoder(self.front.channels, own.decoder, scene.classes)
        self.localization = None
        if LOCALIZATION in own.tasks:
            fused = self.segmentation.channels if self.segmentation is not None and own.semantics else 0
            self.localization = LocalizationStream(
                shared, width, own.activation, own.dropout, scene.position_centre, scene.position_spread,
                fuse=fused, split=3 if fused else 0, past=own.past, fusion=own.fusion,
            )  # fmt: skip
        self.odometry = self.alignment = None
        if ODOMETRY in own.tasks:
            self.odometry = OdometryStream(shared, width, own.activation, own.dropout, True, scene.motion_spread)
            self.alignment = DirectAlignment()
        self.warped_16 = self.warped_32 = None
        if self.segmentation is not None and self.odometry is not None and own.past:
            self.warped_16 = WarpedFusion(self.segmentation.channels, own.fusion)
            self.warped_32 = WarpedFusion(self.segmentation.channels, own.fusion)
        x, y, z = (float(value) for value in scene.recorded_camera)
        self.recorded_camera = (x, y, z)
        self.centre = tuple(float(value) for value in scene.position_centre)
        self.min_inliers, self.max_angle, self.stride = MIN_INLIERS, MAX_ANGLE, STRIDE
        initialize(self)
        if self.coordinates is not None:
            self.coordinates.reset_parameters()

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        c = self.config
        h, w = c.view.height, c.view.width_px
        shapes: dict[str, tuple[int, ...]] = {}
        if self.localization is not None and self.localization.past_fusion is not None:
            shapes["localization_5a"] = (scaled(2048, c.width), h // 32, w // 32)
        if self.odometry is not None:
            shapes["odometry_4f"] = (scaled(1024, c.width), h // 16, w // 16)
            shapes["grey_B1hw"] = (1, h // 2, w // 2)
        if self.warped_16 is not None and self.segmentation is not None:
            shapes["segmentation_16"] = (self.segmentation.channels, h // 16, w // 16)
            shapes["segmentation_32"] = (self.segmentation.channels, h // 32, w // 32)
        return {"valid_B": (), **shapes} if shapes else {}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`."""
        prediction: dict[str, Tensor] = {}
        new_state: dict[str, Tensor] = {}
        map_4, map_8, map_16, map_32 = self.front(image_B3HW)
        maps = [map_4, map_8, map_16, map_32]
        columns = self.hypercolumns(map_4, map_8, map_16, map_32)
        if self.novelty is not None:
            prediction["novelty_B"] = self.novelty(columns.mean(dim=(2, 3)))
        known_B = torch.zeros_like(K_B33[:, 0, 0])
        if "valid_B" in state:
            known_B = state["valid_B"]
            new_state["valid_B"] = torch.ones_like(known_B)

        shared = columns
        if self.shared is not None:
            shared = self.shared(columns)
        encoded_16, encoded_32 = shared, shared
        if self.segmentation is not None:
            encoded_16, encoded_32 = self.segmentation.encode(maps)

        start_B7 = self.middle(K_B33)
        if self.localization is not None:
            past_5a = shared
            if "localization_5a" in state:
                past_5a = state["localization_5a"] * known_B[:, None, None, None]
            start_B7, scale_B2, new_5a = self.localization(shared, encoded_16, None, past_5a)
            prediction["pose_B7"], prediction["log_scale_B2"] = start_B7, scale_B2
            if "localization_5a" in state:
                new_state["localization_5a"] = new_5a

        depth, log_deviation = known_B, known_B
        if self.coordinates is not None and self.solver is not None:
            coordinates = self.coordinates(columns)
            # While training, nothing is learned through the solvers.
            solved = coordinates.detach() if self.training else coordinates
            rays_BN3 = cell_rays(K_B33, solved.shape[2], solved.shape[3], self.stride)
            points_BN3 = solved[:, :3].flatten(2).transpose(1, 2)
            found = self.solver(self.to_colour(start_B7.detach()), points_BN3, solved[:, 3].flatten(1), rays_BN3)
            depth = self.seen_depth(found.pose_B7, points_BN3, rays_BN3).view_as(coordinates[:, :1])
            log_deviation = solved[:, 3:]
            prediction["coordinates_B4HW"], prediction["depth_B1HW"] = coordinates, depth
            if self.localization is not None and not self.training:
                # While training, the losses ask the regressor; the scene coordinates have a stage of their own.
                sure_B1 = (found.inliers_B > self.min_inliers).unsqueeze(1)
                solved_B7 = self.to_recorded(found.pose_B7)
                solved_scale_B2 = found.deviation_B2.clamp_min(1e-6).log().clamp(-8.0, 4.0)
                prediction["pose_B7"] = torch.where(sure_B1, solved_B7, prediction["pose_B7"])
                prediction["log_scale_B2"] = torch.where(sure_B1, solved_scale_B2, prediction["log_scale_B2"])

        motion_B7 = start_B7
        if self.odometry is not None and self.alignment is not None:
            regressed_B7, new_4f = self.odometry(shared, image_B3HW, state["odometry_4f"], known_B)
            grey = grey_image(image_B3HW)
            new_state["odometry_4f"], new_state["grey_B1hw"] = new_4f, grey
            # The identity is a better start than the regressed motion, whose rotation is inaccurate; that is returned
            # if the alignment fails.
            rest_B7 = torch.zeros_like(regressed_B7)
            rest_B7[:, 3].fill_(1.0)
            aligned = self.alignment(grey, state["grey_B1hw"], depth, log_deviation, K_B33, rest_B7)
            found_B1 = aligned.found_B.unsqueeze(1)
            motion_B7 = torch.where(found_B1, aligned.relative_B7, self.motion_to_colour(regressed_B7.detach()))
            motion_B7 = torch.where(known_B.unsqueeze(1) > 0, motion_B7, rest_B7)
            answer_B7 = regressed_B7 if self.training else self.motion_to_recorded(motion_B7)
            prediction["relative_B7"], prediction["motion_log_scale_B2"] = answer_B7, aligned.log_scale_B2

        if self.segmentation is not None:
            fused_16, fused_32 = encoded_16, encoded_32
            if self.warped_16 is not None and self.warped_32 is not None:
                cell = 1.0 / float(self.stride)
                offset, seen = warping_flow(depth, scale_intrinsics(K_B33, cell, cell), motion_B7)
                fused_16 = self.warped_16(encoded_16, state["segmentation_16"], known_B, offset, seen)
                fused_32 = self.warped_32(encoded_32, state["segmentation_32"], known_B, offset, seen)
                new_state["segmentation_16"], new_state["segmentation_32"] = encoded_16, encoded_32
            prediction["logits_BCHW"] = self.segmentation.decode(maps, fused_16, fused_32)
        return prediction, new_state

    def middle(self, K_B33: Tensor) -> Tensor:
        """(B, 7) the identity rotation at the middle of the training positions."""
        pose_B7 = torch.zeros_like(K_B33[:, 0, :1]).repeat(1, 7)
        x, y, z = self.centre
        pose_B7[:, 0].fill_(x)
        pose_B7[:, 1].fill_(y)
        pose_B7[:, 2].fill_(z)
        pose_B7[:, 3].fill_(1.0)
        return pose_B7

    def seen_depth(self, pose_B7: Tensor, points_BN3: Tensor, rays_BN3: Tensor) -> Tensor:
        """(B, N) depth of the points in the camera, metres; 0, unknown, for one that is far from its ray."""
        camera_BN3 = torch.matmul(points_BN3 - pose_B7[:, None, :3], rotation_matrix(pose_B7[:, 3:]))
        along_BN1 = (camera_BN3 * rays_BN3).sum(dim=2, keepdim=True)
        off_BN = torch.linalg.vector_norm(camera_BN3 - along_BN1 * rays_BN3, dim=2)
        near_BN = off_BN < self.max_angle * along_BN1[:, :, 0]
        return torch.where(near_BN, camera_BN3[:, :, 2], torch.zeros_like(off_BN)).clamp_min(0.0)

    def to_recorded(self, colour_B7: Tensor) -> Tensor:
        """Poses of the colour camera as those of the camera that was recorded, see `SceneConfig.recorded_camera`."""
        return compose(colour_B7, self.recorded_in_colour(colour_B7))

    def to_colour(self, recorded_B7: Tensor) -> Tensor:
        """The other way."""
        return compose(recorded_B7, inverse(self.recorded_in_colour(recorded_B7)))

    def motion_to_recorded(self, colour_B7: Tensor) -> Tensor:
        """Motions of the colour camera as those of the camera whose poses were recorded."""
        offset_B7 = self.recorded_in_colour(colour_B7)
        return compose(inverse(offset_B7), compose(colour_B7, offset_B7))

    def motion_to_colour(self, recorded_B7: Tensor) -> Tensor:
        """The other way."""
        offset_B7 = self.recorded_in_colour(recorded_B7)
        return compose(offset_B7, compose(recorded_B7, inverse(offset_B7)))

    def recorded_in_colour(self, like_B7: Tensor) -> Tensor:
        """(B, 7) pose of the recorded camera in the colour camera."""
        x, y, z = self.recorded_camera
        offset_B7 = torch.zeros_like(like_B7)
        offset_B7[:, 0].fill_(x)
        offset_B7[:, 1].fill_(y)
        offset_B7[:, 2].fill_(z)
        offset_B7[:, 3].fill_(1.0)
        return offset_B7

    def load_weights(self) -> str:
        return load_imagenet(self.front)

    def measure(self, image_B3HW: Tensor) -> None:
        self.hypercolumns.measure(self.front(image[None]) for image in image_B3HW)

    def fit_novelty(self, pooled_VC: Tensor) -> None:
        assert self.novelty is not None
        self.novelty.measure(pooled_VC)

    def cell_features(self, image_B3HW: Tensor) -> Tensor:
        map_4, map_8, map_16, map_32 = self.front(image_B3HW)
        return self.hypercolumns(map_4, map_8, map_16, map_32)

    def front_modules(self) -> list[nn.Module]:
        return [self.front, self.hypercolumns]

    def tuned_front(self) -> list[nn.Module]:
        return [self.front.to_8, self.front.to_16, self.front.to_32]

    def cell_head(self) -> CellCoordinates:
        assert self.coordinates is not None
        return self.coordinates

    def cell_channels(self) -> int:
        return self.hypercolumns.channels

    def cell_stride(self) -> int:
        return STRIDE

    def parts(self) -> dict[str, str]:
        return existing(
            self,
            {
                "front": "front",
                "coordinates": "coordinates",
                "solver": "coordinates",
                "novelty": "coordinates",
                "shared": "front",
                "segmentation": "segmentation",
                "warped_16": "segmentation",
                "warped_32": "segmentation",
                "localization.res4": "localization",
                "localization.semantic_fusion": "localization",
                "localization.res5": "localization",
                "localization.past_fusion": "localization",
                "localization.head": "localization",
                "localization.scale_head": "localization",
                "odometry.res4": "odometry",
                "odometry.res5": "odometry",
                "odometry.head": "odometry",
                "alignment": "odometry",
            },
        )

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        own: RobotSettings = self.config.settings
        tasks = tuple(task for task in own.tasks if task in tasks)
        if tasks == own.tasks:
            return self
        gone = [task for task in own.tasks if task not in tasks]
        if ODOMETRY in gone:
            gone += ["alignment", "warped_16", "warped_32"]
        if SEGMENTATION in gone:
            gone += ["warped_16", "warped_32"]
        if tasks == (SEGMENTATION,):
            gone += ["coordinates", "solver", "shared", "novelty"]
        part = without(self, gone)
        if part.localization is not None and SEGMENTATION in gone:
            part._modules["localization"] = without(part.localization, ["semantic_fusion"])
        part.config = replace(self.config, settings=replace(own, tasks=tasks))
        return part

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return {}

    def explanation(self) -> Explanation | None:
        if self.localization is None or self.coordinates is None:
            return None
        layers = {f"stride_{stride}": self.front.get_submodule(f"to_{stride}") for stride in (4, 8, 16, 32)}
        return explain_solved_pose({**layers, LAST: self.hypercolumns}, self.hypercolumns, self.config.scene)


ENTRIES = (
    Entry(
        "robot",
        Robot,
        RobotSettings,
        "Pose from scene coordinates, motion from the warping residual, masks from all strides, on one front",
        papers=(
            Paper(
                "VLocNet++: Deep Multitask Learning for Semantic Visual Localization and Odometry",
                "Radwan, Valada, Burgard",
                2018,
                "RA-L",
            ),
            Paper(
                "Accelerated Coordinate Encoding: Learning to Relocalize in Minutes using RGB and Poses",
                "Brachmann, Cavallari, Prisacariu",
                2023,
                "CVPR",
            ),
        ),
        departures=(
            "The front is EfficientNet-Lite0 with ImageNet weights, shared by all streams, not one ResNet-50 a task",
            "The global pose is solved from scene coordinates; the regressed one is where the solver starts",
            "The motion is solved from the warping residual (eq. 7); the regressed one answers if none is found",
            "Segmentation has a decoder over strides 4 to 32; its maps of strides 16 and 32 are fused with the past",
            "Depth for the warping is that of the scene coordinates, not of a network of its own",
        ),
        follows_labels=True,
    ),
)
