"""Hourglass-PoseNet (Melekhov et al., 2017): an encoder and a decoder, so that fine details reach the regressor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vlocnetpp.network.blocks.heads import PoseRegressor, ScaleHead
from vlocnetpp.network.blocks.initialization import initialize
from vlocnetpp.network.blocks.normalize import Normalize
from vlocnetpp.network.blocks.trunk import OF_TRUNK, PARTS, Trunk
from vlocnetpp.network.blocks.units import ACTIVATIONS, scaled
from vlocnetpp.network.config import NetworkConfig, Traits, require_choice, require_dropout
from vlocnetpp.network.contract import Entry, Explanation, Network, Paper
from vlocnetpp.network.explaining import explain_trunk
from vlocnetpp.network.models.posenet import SCALE, SIGN, TRUNK
from vlocnetpp.step import Prediction, State

CHANNELS = (256, 128, 64)
"""Of the decoder at strides 16, 8 and 4."""
FINAL = 32


@dataclass(frozen=True)
class HourglassPoseNetSettings:
    """The network's settings."""

    activation: str = "elu"
    """`elu` or `relu`."""
    dropout: float = 0.5
    """After fc1, while training."""

    def __post_init__(self) -> None:
        require_choice("activation", self.activation, tuple(ACTIVATIONS))
        require_dropout(self.dropout)

    @property
    def traits(self) -> Traits:
        return Traits(tasks=("localization",))


class Up(nn.Module):
    """Twice the resolution by a learned deconvolution, plus the encoder's map in as many channels."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.skip = nn.Conv2d(skip_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.act(self.norm(self.up(x) + self.skip(skip)))


class HourglassPoseNet(nn.Module):
    """Trunk, three deconvolutions that are summed with its maps, one convolution and a fully connected layer."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        own: HourglassPoseNetSettings = config.settings
        view, scene, width = config.view, config.scene, config.width
        self.normalize = Normalize()
        self.trunk = Trunk(width, own.activation)
        res2, res3, res4, res5 = self.trunk.channels
        c16, c8, c4 = (scaled(channels, width) for channels in CHANNELS)
        self.up16 = Up(res5, res4, c16)
        self.up8 = Up(c16, res3, c8)
        self.up4 = Up(c8, res2, c4)
        final, hidden = scaled(FINAL, width), scaled(1024, width)
        self.final = nn.Sequential(
            nn.Conv2d(c4, final, 3, padding=1, bias=False), nn.BatchNorm2d(final), nn.ReLU(), nn.Flatten()
        )
        self.fc1 = nn.Linear(final * (view.height // 4) * (view.width_px // 4), hidden)
        self.elu = nn.ELU()
        self.dropout = nn.Dropout(own.dropout)
        self.pose = PoseRegressor(hidden, scene.position_centre, scene.position_spread)
        self.scale_head = ScaleHead(width)
        initialize(self)

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def forward(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """See `contract.Network`."""
        new_state: dict[str, Tensor] = {}
        maps = self.trunk(self.normalize(image_B3HW))
        x = self.up4(self.up8(self.up16(maps[3], maps[2]), maps[1]), maps[0])
        features_BC = self.elu(self.fc1(self.final(x)))
        pose_B7 = self.pose(self.dropout(features_BC))
        return {"pose_B7": pose_B7, "log_scale_B2": self.scale_head(features_BC)}, new_state

    def parts(self) -> dict[str, str]:
        decoder = dict.fromkeys(("up16", "up8", "up4", "final"), "decoder")
        return {**PARTS, **decoder, **dict.fromkeys(("fc1", "pose", "scale_head"), "localization")}

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        return self

    def depth_network(self) -> None:
        return None

    def pretrained_parts(self) -> dict[str, str]:
        return OF_TRUNK

    def explanation(self) -> Explanation:
        return explain_trunk(self.trunk, self.elu, self.config.scene, last=self.up4)


ENTRIES = (
    Entry(
        "hourglass_posenet",
        HourglassPoseNet,
        HourglassPoseNetSettings,
        "Encoder and decoder, whose maps are summed; the pose is regressed from the decoder's map of stride 4",
        papers=(
            Paper(
                "Image-based Localization using Hourglass Networks",
                "Melekhov, Ylioinas, Kannala, Rahtu",
                2017,
                "ICCV Workshops",
            ),
        ),
        departures=(
            TRUNK.replace("GoogLeNet", "ResNet-34"),
            "1x1 convolutions bring the trunk's maps to ResNet-34's channels before they are summed",
            "Position and rotation are weighted by learned scalars, not by a fixed beta",
            SIGN,
            SCALE,
        ),
    ),
)
