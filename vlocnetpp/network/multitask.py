"""The wiring: one step of all tasks that a configuration names, on the current frame and the features of the last."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from vlocnetpp.network.depth import DepthNetwork
from vlocnetpp.network.fusion import FUSIONS, AdaptiveFusion, ConcatFusion
from vlocnetpp.network.heads import PoseHead, ScaleHead
from vlocnetpp.network.localization import LocalizationStream
from vlocnetpp.network.odometry import OdometryStream
from vlocnetpp.network.presets import NetworkConfig
from vlocnetpp.network.scene_coordinates import CoordinateHead, refine_pose
from vlocnetpp.network.segmentation import SegmentationStream
from vlocnetpp.network.units import Front, scaled
from vlocnetpp.network.warping import warp_features, warping_flow
from vlocnetpp.step import Prediction, State

Module = TypeVar("Module", bound=nn.Module)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class VLocNetPlusPlus(nn.Module):
    """VLocNet++ and its relatives; `forward` is the step that training unrolls and the robot calls."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.mean_13hw: Tensor
        self.std_13hw: Tensor
        c, width = config, config.width
        poses = "localization" in c.tasks or "odometry" in c.tasks
        self.shared = c.semantics == "shared"
        self.mask_input = c.semantics == "input"
        self.segmentation = None
        if "segmentation" in c.tasks:
            self.segmentation = SegmentationStream(width, c.segmentation_activation, c.classes, c.segmentation_decoder)
        self.front = Front(4 if self.mask_input else 3, width, c.activation) if poses and not self.shared else None
        channels_3, channels_4, channels_5 = scaled(512, width), scaled(1024, width), scaled(2048, width)
        self.odometry = OdometryStream(c, channels_3) if "odometry" in c.tasks else None
        self.localization = None
        if "localization" in c.tasks:
            self.localization = LocalizationStream(c, channels_4 if self.shared else channels_3)
        self.coordinates = None
        if c.coordinates != "none":
            self.coordinates = CoordinateHead(channels_3, width, c.activation, c.scene_centre, c.scene_spread)
        self.depth = DepthNetwork(width) if c.depth == "network" else None
        fusion = FUSIONS[c.fusion]
        self.warp_fusion_4f = fusion([channels_4, channels_4], channels_4) if "4f" in c.warp else None
        self.warp_fusion_5c = fusion([channels_5, channels_5], channels_5) if "5c" in c.warp else None
        self.register_buffer("mean_13hw", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("std_13hw", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255)
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of one sample's state, by field, without the batch axis; what no task reads has no channels."""
        c = self.config
        h, w = c.height, c.width_px
        none = (0, 1, 1)
        remembers_5a = c.past == "features" and "localization" in c.tasks
        stride_16, stride_32 = (h // 16, w // 16), (h // 32, w // 32)
        return {
            "valid_B": (),
            "pose_B7": (7,) if c.past == "pose" else (0,),
            "localization_5a": (scaled(2048, c.width), *stride_32) if remembers_5a else none,
            "odometry_4f": (scaled(1024, c.width), *stride_16) if "odometry" in c.tasks else none,
            "segmentation_4f": (scaled(1024, c.width), *stride_16) if "4f" in c.warp else none,
            "segmentation_5c": (scaled(2048, c.width), *stride_16) if "5c" in c.warp else none,
        }

    def cold_state(self, batch: int) -> State:
        """The state at the start of every sequence: zeros, on the network's device and in its precision."""
        like = self.mean_13hw
        return State(**{name: like.new_zeros((batch, *shape)) for name, shape in self.state_shapes().items()})

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """One step.

        Args:
            image_B3HW: RGB, 0 to 255, at the network's input resolution.
            K_B33: intrinsics at that resolution.
            depth_B1HW: measured depth in metres, 0 where unknown; read only by configurations with depth `sensor`.
            state: the last step's, or `cold_state` at the start of a sequence; `valid_B` may differ by sample.
        """
        image = (image_B3HW - self.mean_13hw) / self.std_13hw
        valid_B = state.valid_B
        known = valid_B[:, None, None, None]
        empty_map = image.new_zeros((image.shape[0], 0, 1, 1))
        empty_row = image.new_zeros((image.shape[0], 0))

        segmentation_4f, res3d = empty_map, empty_map
        if self.segmentation is not None:
            res3d = self.segmentation.front(image)
            segmentation_4f = self.segmentation.res4(res3d)

        # The ablation that feeds the mask to localization's stem needs the mask before everything else.
        logits, semantics_5c = empty_map, empty_map
        pose_image = image
        if self.mask_input and self.segmentation is not None:
            semantics_5c = self.segmentation.res5(segmentation_4f)
            logits = self.segmentation.decoder(semantics_5c, segmentation_4f, res3d)
            ids = logits.argmax(dim=1, keepdim=True).to(image.dtype)
            pose_image = torch.cat((image, ids / float(logits.shape[1]) - 0.5), dim=1)

        res3 = res3d
        if self.front is not None:
            res3 = self.front(pose_image)

        relative_B7, odometry_4f = empty_row, empty_map
        if self.odometry is not None:
            relative_B7, odometry_4f = self.odometry(res3, image, state.odometry_4f, valid_B)

        depth = depth_B1HW
        if self.depth is not None:
            depth = self.depth.depth(image)

        segmentation_5c, fused_4f = empty_map, segmentation_4f
        if self.segmentation is not None and not self.mask_input:
            offset, warpable = depth, depth
            if self.warp_fusion_4f is not None or self.warp_fusion_5c is not None:
                offset, warpable = warping_flow(depth.to(K_B33.dtype), K_B33, relative_B7.to(K_B33.dtype))
            if self.warp_fusion_4f is not None:
                past_4f, _ = warp_features(state.segmentation_4f * known, offset, warpable)
                fused_4f = self.warp_fusion_4f([segmentation_4f, past_4f])
            segmentation_5c = self.segmentation.res5(fused_4f)
            semantics_5c = segmentation_5c
            if self.warp_fusion_5c is not None:
                past_5c, _ = warp_features(state.segmentation_5c * known, offset, warpable)
                semantics_5c = self.warp_fusion_5c([segmentation_5c, past_5c])
            logits = self.segmentation.decoder(semantics_5c, fused_4f, res3d)

        pose_B7, log_scale_B2, localization_5a = empty_row, empty_row, empty_map
        if self.localization is not None:
            start = fused_4f if self.shared else res3
            pose_B7, log_scale_B2, localization_5a = self.localization(
                start, semantics_5c, state.localization_5a, state.pose_B7, valid_B
            )

        coordinates = empty_map
        if self.coordinates is not None:
            coordinates = self.coordinates(res3)
            if not self.training:  # the losses ask the regressor and the coordinates, each for itself
                pose_B7, log_scale_B2 = refine_pose(pose_B7, log_scale_B2, coordinates, K_B33)

        prediction = Prediction(pose_B7, relative_B7, log_scale_B2, logits, depth, coordinates)
        new_state = State(
            torch.ones_like(valid_B),
            pose_B7 if state.pose_B7.shape[1] > 0 else empty_row,
            localization_5a if state.localization_5a.shape[1] > 0 else empty_map,
            odometry_4f,
            segmentation_4f if state.segmentation_4f.shape[1] > 0 else empty_map,
            segmentation_5c if state.segmentation_5c.shape[1] > 0 else empty_map,
        )
        return prediction, new_state


def task_network(network: VLocNetPlusPlus, tasks: tuple[str, ...]) -> VLocNetPlusPlus:
    """The part of a network that answers some of its tasks, with the very same parameters.

    Training it trains the whole, which is how task-specific models come before the joint one (paper, section IV). A
    network whose streams cannot be taken apart (semantics `concat`, `input` or `shared`) is returned whole.
    """
    c = network.config
    tasks = tuple(task for task in c.tasks if task in tasks)
    if tasks == c.tasks or c.semantics not in ("none", "fuse"):
        return network
    semantics = c.semantics if {"localization", "segmentation"} <= set(tasks) else "none"
    warp = c.warp if {"odometry", "segmentation"} <= set(tasks) else ()
    part = without(network, [task for task in c.tasks if task not in tasks])
    if "localization" not in tasks:
        part = without(part, ["coordinates"])
    if tasks == ("segmentation",):
        part = without(part, ["front"])
    if semantics == "none" and part.localization is not None:
        part._modules["localization"] = without(part.localization, ["semantic_fusion"])
    if not warp:
        part = without(part, ["depth", "warp_fusion_4f", "warp_fusion_5c"])
    part.config = replace(c, tasks=tasks, semantics=semantics, warp=warp, depth=c.depth if warp else "none")
    return part


def without(module: Module, names: list[str]) -> Module:
    """A module that shares everything with another one but lacks some of its children."""
    part = copy.copy(module)
    part._modules = {name: None if name in names else child for name, child in module._modules.items()}
    return part


def initialize(network: nn.Module) -> None:
    """Xavier for everything that ImageNet weights do not fill (paper, section IV).

    Deconvolutions start as bilinear upsampling of each class, heads as the identity rotation and an unknown scale.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.ConvTranspose2d):
            module.weight.data.copy_(bilinear_kernel(module.in_channels, module.kernel_size[0], module.stride[0]))
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.ConvTranspose2d)) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, (PoseHead, ScaleHead, CoordinateHead)):
            module.start()
        elif isinstance(module, (AdaptiveFusion, ConcatFusion)):
            pass_first_through(module.conv)


def pass_first_through(conv: nn.Conv2d) -> None:
    """Let a fusion begin as its first input with a little of everything (beyond the paper, which starts at random).

    The first input is the current frame's own map in a residual stream; a random mixture would cut that stream in two,
    and training would first have to mend it.
    """
    with torch.no_grad():
        conv.weight.mul_(0.1)
        conv.weight[:, : conv.out_channels, 0, 0] += torch.eye(conv.out_channels)


def bilinear_kernel(channels: int, size: int, stride: int) -> Tensor:
    """(channels, channels, size, size) weights with which a deconvolution upsamples each channel bilinearly."""
    distance = (torch.arange(size) - (size - 1) / 2).abs() / stride
    line = (1 - distance).clamp_min(0)
    return torch.eye(channels)[:, :, None, None] * (line[:, None] * line[None, :])
