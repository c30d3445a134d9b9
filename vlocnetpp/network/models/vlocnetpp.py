"""VLocNet++ (Radwan, Valada, Burgard, 2018): pose, odometry and segmentation in one network.

`vlocnetpp_presets` has the paper's networks and ablations, as settings of this one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vlocnetpp.errors import ConfigError
from vlocnetpp.network.blocks.depth import DepthNetwork
from vlocnetpp.network.blocks.dilation import TABLES, dilations
from vlocnetpp.network.blocks.fusion import FUSIONS
from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.localization import LocalizationStream
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.odometry import OdometryStream
from vlocnetpp.network.blocks.scene_coordinates import CoordinateHead, PoseRefinement
from vlocnetpp.network.blocks.segmentation import SegmentationStream
from vlocnetpp.network.blocks.sharing import existing, without
from vlocnetpp.network.blocks.units import ACTIVATIONS, Front, Stage, scaled
from vlocnetpp.network.blocks.warping import warp_features, warping_flow
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice, require_dropout
from vlocnetpp.network.contract import Explanation, Network
from vlocnetpp.network.explaining import explain_coordinates, explain_regression
from vlocnetpp.step import TASKS, Prediction, State

CHOICES: dict[str, tuple[str, ...]] = {
    "tasks": TASKS,
    "past": ("none", "features"),
    "semantics": ("none", "fuse", "concat", "input", "shared"),
    "semantic_site": tuple(f"4{unit}" for unit in "abcdef"),
    "warp": ("4f", "5c"),
    "fusion": tuple(FUSIONS),
    "depth": ("none", "sensor", "network"),
    "coordinates": ("none", "res3"),
    "siamese": ("tied", "untied"),
    "rates": tuple(TABLES),
    "activation": tuple(ACTIVATIONS),
    "segmentation_activation": tuple(ACTIVATIONS),
}


@dataclass(frozen=True)
class VLocNetPlusPlusSettings:
    """What the paper and its ablations vary."""

    tasks: tuple[str, ...] = TASKS
    """Which of localization, odometry and segmentation the network answers."""
    past: str = "features"
    """What localization sees of the previous frame: `none` or `features` (Res5a)."""
    semantics: str = "none"
    """How localization sees the segmentation: `none`, `fuse` (Res5c into `semantic_site`), `concat` (Res5c beside
    Res4f), `input` (the mask as a fourth channel), `shared` (one encoder up to Res4)."""
    semantic_site: str = "4c"
    """Unit of localization's Res4 after which semantics are fused."""
    warp: tuple[str, ...] = ()
    """Segmentation maps into which the warped previous ones are fused: of `4f` and `5c`."""
    fusion: str = "adaptive"
    """`adaptive` (eq. 8) or `concat` (linear 1x1 of the concatenation)."""
    depth: str = "none"
    """Where warping takes the depth from: `network` (monocular, trained first) or `sensor`."""
    coordinates: str = "none"
    """From which map of localization scene coordinates are predicted, by which the pose is refined: `none` or `res3`.
    Trained with depth images, used without."""
    siamese: str = "tied"
    """Odometry's two streams: `tied`, the previous frame costs nothing; `untied`, the previous one has own weights."""
    rates: str = "map"
    """Dilation of the multi-scale units: `map`, the paper's as far as they fit the map; `printed`, the paper's, though
    taps outside of the map never learn; `released`, those of AdapNet's published code."""
    activation: str = "elu"
    """Of localization and odometry: `elu` (the paper) or `relu`."""
    segmentation_activation: str = "relu"
    """Of the segmentation stream: `relu` or `elu`."""
    dropout: float = 0.2
    """After fc1, while training."""

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            for item in value if isinstance(value, tuple) else (value,):
                require_choice(name, item, allowed)
        require_dropout(self.dropout)
        tasks = set(self.tasks)
        if not tasks:
            raise ConfigError("tasks: at least one of localization, odometry, segmentation")
        if self.semantics != "none" and not {"localization", "segmentation"} <= tasks:
            raise ConfigError(f"semantics: '{self.semantics}' needs the tasks localization and segmentation")
        if self.warp and not {"odometry", "segmentation"} <= tasks:
            raise ConfigError("warp: needs the tasks odometry and segmentation")
        if self.warp and self.depth == "none":
            raise ConfigError("warp: needs a depth, 'network' or 'sensor'")
        if self.depth != "none" and not self.warp:
            raise ConfigError(f"depth: '{self.depth}' is read by nothing without warp; leave it at none")
        if self.warp and self.semantics == "input":
            raise ConfigError("warp: cannot go with semantics 'input', whose mask must exist before odometry does")
        if self.coordinates != "none" and ("localization" not in tasks or self.semantics == "shared"):
            raise ConfigError(
                f"coordinates: '{self.coordinates}' needs the task localization with an encoder of its own"
            )

    @property
    def traits(self) -> Traits:
        return Traits(
            self.tasks,
            reads_depth=self.depth == "sensor",
            trains_depth=self.depth == "network",
            answers_coordinates=self.coordinates != "none",
        )


class VLocNetPlusPlus(nn.Module):
    """The streams and fusions that the settings name."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        own: VLocNetPlusPlusSettings = config.settings
        view, scene, width = config.view, config.scene, config.width
        self.shared = own.semantics == "shared"
        self.mask_input = own.semantics == "input"
        self.concat_semantics = own.semantics == "concat"
        self.keeps_5a = own.past == "features" and "localization" in own.tasks
        channels_3, channels_4, channels_5 = scaled(512, width), scaled(1024, width), scaled(2048, width)
        self.normalize = Normalize()
        self.segmentation = None
        if "segmentation" in own.tasks:
            rates = dilations(own.rates, view.height, view.width_px)
            self.segmentation = SegmentationStream(width, own.segmentation_activation, scene.classes, rates)
        poses = "localization" in own.tasks or "odometry" in own.tasks
        self.front = Front(4 if self.mask_input else 3, width, own.activation) if poses and not self.shared else None
        self.odometry = None
        if "odometry" in own.tasks:
            self.odometry = OdometryStream(
                channels_3,
                width,
                own.activation,
                own.dropout,
                own.siamese == "tied",
                scene.motion_spread,
            )
        self.localization = None
        if "localization" in own.tasks:
            fuses = own.semantics == "fuse"
            self.localization = LocalizationStream(
                channels_4 if self.shared else channels_3,
                width,
                own.activation,
                own.dropout,
                scene.position_centre,
                scene.position_spread,
                starts_at_res4=self.shared,
                fuse=channels_5 if fuses else 0,
                split="abcdef".index(own.semantic_site[1]) + 1 if fuses else 0,
                beside=channels_5 if self.concat_semantics else 0,
                past=own.past == "features",
                fusion=own.fusion,
            )
        self.coordinates = None
        self.solver = None
        if own.coordinates != "none":
            self.coordinates = CoordinateHead(channels_3, width, own.activation, scene.scene_centre, scene.scene_spread)
            self.solver = PoseRefinement()
        self.depth = DepthNetwork(width) if own.depth == "network" else None
        fusion = FUSIONS[own.fusion]
        self.warp_fusion_4f = fusion([channels_4, channels_4], channels_4) if "4f" in own.warp else None
        self.warp_fusion_5c = fusion([channels_5, channels_5], channels_5) if "5c" in own.warp else None
        self.remembers = bool(self.state_shapes())
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Only what a stream reads of the past; see `step.STATES`."""
        view, width = self.config.view, self.config.width
        stride_16, stride_32 = (view.height // 16, view.width_px // 16), (view.height // 32, view.width_px // 32)
        shapes: dict[str, tuple[int, ...]] = {}
        if self.keeps_5a:
            shapes["localization_5a"] = (scaled(2048, width), *stride_32)
        if self.odometry is not None:
            shapes["odometry_4f"] = (scaled(1024, width), *stride_16)
        if self.warp_fusion_4f is not None:
            shapes["segmentation_4f"] = (scaled(1024, width), *stride_16)
        if self.warp_fusion_5c is not None:
            shapes["segmentation_5c"] = (scaled(2048, width), *stride_16)
        return {"valid_B": (), **shapes} if shapes else {}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`; `valid_B` may differ by sample."""
        image = self.normalize(image_B3HW)
        prediction: dict[str, Tensor] = {}
        new_state: dict[str, Tensor] = {}
        valid_B = torch.zeros_like(image[:, 0, 0, 0])
        if self.remembers:
            valid_B = state["valid_B"]
            new_state["valid_B"] = torch.ones_like(valid_B)
        known = valid_B[:, None, None, None]

        segmentation_4f, res3d = image, image
        if self.segmentation is not None:
            res3d = self.segmentation.front(image)
            segmentation_4f = self.segmentation.res4(res3d)

        # The ablation that feeds the mask to localization's stem needs the mask before everything else.
        semantics_5c = image
        pose_image = image
        if self.segmentation is not None and self.mask_input:
            logits = self.segmentation.decoder(self.segmentation.res5(segmentation_4f), res3d)
            prediction["logits_BCHW"] = logits
            ids = logits.argmax(dim=1, keepdim=True).to(image.dtype)
            pose_image = torch.cat((image, ids / float(logits.shape[1]) - 0.5), dim=1)

        res3 = res3d
        if self.front is not None:
            res3 = self.front(pose_image)

        relative_B7 = image
        if self.odometry is not None:
            relative_B7, odometry_4f = self.odometry(res3, image, state["odometry_4f"], valid_B)
            prediction["relative_B7"] = relative_B7
            new_state["odometry_4f"] = odometry_4f

        fused_4f = segmentation_4f
        if self.segmentation is not None and not self.mask_input:
            offset, warpable = image, image
            if self.warp_fusion_4f is not None or self.warp_fusion_5c is not None:
                depth = depth_B1HW
                if self.depth is not None:
                    depth = self.depth(image)
                prediction["depth_B1HW"] = depth
                offset, warpable = warping_flow(depth.to(K_B33.dtype), K_B33, relative_B7.to(K_B33.dtype))
            if self.warp_fusion_4f is not None:
                past_4f, _ = warp_features(state["segmentation_4f"] * known, offset, warpable)
                fused_4f = self.warp_fusion_4f([segmentation_4f, past_4f])
                new_state["segmentation_4f"] = segmentation_4f
            segmentation_5c = self.segmentation.res5(fused_4f)
            semantics_5c = segmentation_5c
            if self.warp_fusion_5c is not None:
                past_5c, _ = warp_features(state["segmentation_5c"] * known, offset, warpable)
                semantics_5c = self.warp_fusion_5c([segmentation_5c, past_5c])
                new_state["segmentation_5c"] = segmentation_5c
            prediction["logits_BCHW"] = self.segmentation.decoder(semantics_5c, res3d)

        if self.localization is not None:
            pose_B7, log_scale_B2, localization_5a = self.localization(
                fused_4f if self.shared else res3,
                semantics_5c,
                semantics_5c if self.concat_semantics else None,
                state["localization_5a"] * known if self.keeps_5a else None,
            )
            if self.keeps_5a:
                new_state["localization_5a"] = localization_5a
            if self.coordinates is not None and self.solver is not None:
                coordinates = self.coordinates(res3)
                prediction["coordinates_B4HW"] = coordinates
                if not self.training:  # the losses train the regressor and the coordinates separately
                    pose_B7, log_scale_B2 = self.solver(pose_B7, log_scale_B2, coordinates, K_B33)
            prediction["pose_B7"] = pose_B7
            prediction["log_scale_B2"] = log_scale_B2
        return prediction, new_state

    def parts(self) -> dict[str, str]:
        return existing(self, PARTS)

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        own: VLocNetPlusPlusSettings = self.config.settings
        kept = tuple(task for task in own.tasks if task in tasks)
        if kept == own.tasks or own.semantics not in ("none", "fuse"):
            return self
        semantics = own.semantics if {"localization", "segmentation"} <= set(kept) else "none"
        warp = own.warp if {"odometry", "segmentation"} <= set(kept) else ()
        part = without(self, [task for task in own.tasks if task not in kept])
        if "localization" not in kept:
            part = without(part, ["coordinates", "solver"])
            part.keeps_5a = False
        if kept == ("segmentation",):
            part = without(part, ["front"])
        if semantics == "none" and part.localization is not None:
            part._modules["localization"] = without(part.localization, ["semantic_fusion"])
        if not warp:
            part = without(part, ["depth", "warp_fusion_4f", "warp_fusion_5c"])
        settings = replace(
            own,
            tasks=kept,
            semantics=semantics,
            warp=warp,
            depth=own.depth if warp else "none",
            coordinates=own.coordinates if "localization" in kept else "none",
        )
        part.config = replace(self.config, settings=settings)
        part.remembers = bool(part.state_shapes())
        return part

    def depth_network(self) -> DepthNetwork | None:
        return self.depth

    def pretrained_parts(self) -> dict[str, str]:
        return existing(self, PRETRAINED)

    def explanation(self) -> Explanation | None:
        if self.localization is None:
            return None
        scene = self.config.scene
        if self.coordinates is not None and self.front is not None:
            return explain_coordinates(self.front, self.coordinates, scene.position_centre, scene.position_spread)
        front, res4 = self.front, self.localization.res4
        if self.segmentation is not None and self.shared:
            front, res4 = self.segmentation.front, self.segmentation.res4
        assert front is not None and isinstance(res4, Stage)
        return explain_regression(front, res4, self.localization)


PARTS = {
    "front.stem": "front of localization and odometry",
    "front.res2": "front of localization and odometry",
    "front.res3": "front of localization and odometry",
    "odometry.past": "odometry",
    "odometry.res4": "odometry",
    "odometry.res5": "odometry",
    "odometry.head": "odometry",
    "depth": "depth",
    "segmentation.front.stem": "segmentation",
    "segmentation.front.res2": "segmentation",
    "segmentation.front.res3": "segmentation",
    "segmentation.res4": "segmentation",
    "warp_fusion_4f": "fusion of warped maps",
    "segmentation.res5": "segmentation",
    "warp_fusion_5c": "fusion of warped maps",
    "segmentation.decoder": "segmentation",
    "localization.res4": "localization",
    "localization.semantic_fusion": "localization",
    "localization.res5": "localization",
    "localization.past_fusion": "localization",
    "localization.head": "localization",
    "localization.scale_head": "localization",
    "coordinates": "scene coordinates",
    "solver": "pose solver",
}
_RESNET = {"front.stem": "stem", "front.res2": "res2", "front.res3": "res3", "res4": "res4", "res5": "res5"}
PRETRAINED = {
    **{path: part for path, part in _RESNET.items() if path.startswith("front.")},
    **{f"odometry.past.{path}": part for path, part in _RESNET.items() if path != "res5"},
    **{f"segmentation.{path}": part for path, part in _RESNET.items()},
    **{f"{stream}.{stage}": stage for stream in ("localization", "odometry") for stage in ("res4", "res5")},
    "localization.head.norm": "norm",
    "odometry.head.norm": "norm",
    "segmentation.decoder.norm": "norm",
}
