"""What every network says about itself, so that nothing outside it depends on the names of its modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from torch import Tensor, nn

from vlocnetpp.network.config import NetworkConfig, Settings
from vlocnetpp.step import Answer, Prediction, State, cold_state

if TYPE_CHECKING:
    from vlocnetpp.network.blocks.cell_coordinates import CellCoordinates
    from vlocnetpp.network.blocks.depth import DepthNetwork
    from vlocnetpp.network.blocks.normalize import Normalize


class Explanation(NamedTuple):
    """What can be visualized of how a network arrives at its pose."""

    layers: dict[str, nn.Module]
    """Layers with a map that the pose depends on, first to last; the last one is called `last`."""
    features: nn.Module
    """The last module before the pose; its output is (B, C), or is averaged to that."""
    scalars: dict[str, Callable[[Answer, Tensor], Tensor]]
    """By name: a function of the answer and the output of `features` that returns (B,), differentiable by the layers'
    outputs."""


class Network(Protocol):
    """A `torch.nn.Module` whose `forward` is the step that training unrolls and the robot calls."""

    config: NetworkConfig
    normalize: Normalize
    """Maps RGB of 0 to 255 to the range that the weights expect; pretrained weights set it."""
    training: bool

    def __call__(self, image_B3HW: Tensor, K_B33: Tensor, depth_B1HW: Tensor, state: State) -> tuple[Prediction, State]:
        """One step.

        Args:
            image_B3HW: RGB, 0 to 255, at the network's input resolution.
            K_B33: intrinsics at that resolution.
            depth_B1HW: measured depth in metres, 0 where unknown; read only where `Traits.reads_depth`.
            state: the last step's, or `cold_state` at the start of a sequence.
        """

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the state's fields for one camera stream, without the batch axis."""

    def parts(self) -> dict[str, str]:
        """Paths of the modules that a step runs, none inside another, and the stream that each belongs to."""

    def part_for(self, tasks: tuple[str, ...]) -> Network:
        """The part that answers some of the tasks, sharing its parameters; the whole network where it cannot be
        divided.

        Training it trains the whole, which is how task-specific models come before the joint one.
        """

    def depth_network(self) -> DepthNetwork | None:
        """The depth network, which is trained first in a stage of its own, where `Traits.trains_depth`."""

    def pretrained_parts(self) -> dict[str, str]:
        """Paths of modules that take ImageNet weights, and the part of the ResNet that each takes them from."""

    def explanation(self) -> Explanation | None:
        """What can be visualized of its pose; None without localization."""

    # The methods of `torch.nn.Module` that are used.
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...
    def get_submodule(self, target: str) -> nn.Module: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...
    def eval(self) -> Network: ...
    def train(self, mode: bool = True) -> Network: ...
    def cpu(self) -> Network: ...
    def float(self) -> Network: ...
    def to(self, *args: Any, **kwargs: Any) -> Network: ...
    def compile(self) -> None: ...


class PretrainedNetwork(Network, Protocol):
    """A network on a front that begins from pretrained weights (`Traits.attribution`)."""

    def load_weights(self) -> str:
        """Load the front's pretrained weights; returns a line that names them. Raises WeightsError where they are
        missing.
        """

    def front_modules(self) -> list[nn.Module]:
        """The modules that compute the features on which the other parts rest."""

    def tuned_front(self) -> list[nn.Module]:
        """The modules of the front that a stage with `front_rate` tunes: all but the first, which see edges and colours
        as everywhere, and whose large maps cost the most."""


class CellNetwork(PretrainedNetwork, Protocol):
    """A network that learns scene coordinates from single cells (`Traits.trains_cells`); its front is frozen."""

    def measure(self, image_B3HW: Tensor) -> None:
        """Set the mean and deviation of the front's features from training images, RGB of 0 to 255."""

    def fit_novelty(self, pooled_VC: Tensor) -> None:
        """Set the novelty score's mean and covariance from the mean features of training images."""

    def cell_features(self, image_B3HW: Tensor) -> Tensor:
        """(B, C, H/s, W/s) standardized features of images, RGB of 0 to 255."""

    def cell_head(self) -> CellCoordinates:
        """The head that is trained on the cells."""

    def cell_channels(self) -> int:
        """C of `cell_features`."""

    def cell_stride(self) -> int:
        """s of `cell_features`."""


class FrameMapNetwork(Network, Protocol):
    """A network that answers from training frames (`Traits.keeps_frames`)."""

    def map_frames(self) -> int:
        """How many frames it keeps at most."""

    def fill_map(self, frames: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Keep these frames instead of those before: batches of images, RGB of 0 to 255, and their poses (B, 7)."""


class Paper(NamedTuple):
    """Where a network comes from."""

    title: str
    authors: str
    year: int
    venue: str


@dataclass(frozen=True)
class Entry:
    """A registered network: what `registry.create` builds by its name, and its documentation."""

    name: str
    network: Callable[[NetworkConfig], Any]
    """The class of the network."""
    settings: type[Settings]
    summary: str
    """One sentence."""
    papers: tuple[Paper, ...] = ()
    preset: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the defaults of `settings`."""
    loss: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the defaults of the loss when it is trained."""
    published: tuple[tuple[str, str], ...] = ()
    """Pairs of dataset and figures, from its paper."""
    departures: tuple[str, ...] = ()
    """Differences from its paper."""
    follows_labels: bool = False
    """Whether tasks for which a dataset has no labels are left out, where the configuration does not name the tasks."""


def cold_state_of(network: Network, batch: int = 1) -> State:
    """The cold state of a network, on its device and in its precision."""
    like = next(network.parameters())
    return cold_state(network.state_shapes(), batch, like.device, like.dtype)


def decayed_parameters(network: Network) -> list[nn.Parameter]:
    """Parameters with weight decay: weights of convolutions and linear layers. Norms, biases, the scalars of adaptive
    fusion and the balances of losses have none.
    """
    layers = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    return [p for module in network.modules() if isinstance(module, layers) for p in [module.get_parameter("weight")]]


def frozen_parts(network: Network, mapped: bool = False) -> list[nn.Module]:
    """Modules that ordinary stages do not train: the depth network, or the front and the scene coordinates on top of
    it.

    Args:
        mapped: whether scene coordinates were trained; then their front stays, also one without pretrained weights.
    """
    depth = network.depth_network()
    still: list[nn.Module] = [] if depth is None else [depth]
    if network.config.traits.attribution or mapped:
        still += cast(PretrainedNetwork, network).front_modules()
    if network.config.traits.trains_cells:
        still.append(cast(CellNetwork, network).cell_head())
    return still


def front_parts(network: Network) -> list[nn.Module]:
    """What may be tuned of the pretrained front under the streams of a network that has one; else nothing."""
    return cast(PretrainedNetwork, network).tuned_front() if network.config.traits.attribution else []


def split_norms(network: Network, mapped: bool = False) -> list[nn.BatchNorm2d]:
    """Batch norms whose statistics are updated while training: all but those of `frozen_parts`."""
    fixed = {module for part in frozen_parts(network, mapped) for module in part.modules()}
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m not in fixed]
