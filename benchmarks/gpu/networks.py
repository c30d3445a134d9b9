"""The networks that are timed, and their model files, written once for all parts."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from benchmarks.gpu.part import Order
from vlocnetpp.export.files import export_network
from vlocnetpp.network import configure
from vlocnetpp.speed import Case, case_of_preset


@dataclass(frozen=True)
class Named:
    """A network at a size."""

    preset: str
    width: float
    height: int
    columns: int

    @property
    def label(self) -> str:
        """As in the table."""
        return f"{self.preset} {self.width:g} {self.height}x{self.columns}"


FLAGSHIP, FULL = Named("robot", 0.125, 256, 320), Named("mtl", 1.0, 224, 224)
"""As config/train/robot.yaml has it, and as the paper has it."""
ALL = (FLAGSHIP, FULL, Named("mtl", 1.0, 256, 448), Named("robot", 0.125, 224, 224), Named("robot", 0.125, 256, 448),
       Named("mtl", 1.0, 256, 320))  # fmt: skip
TINY = (Named("robot", 0.0625, 64, 96), Named("mtl", 0.0625, 64, 96))


def networks(order: Order, most: int = len(ALL)) -> tuple[Named, ...]:
    """The first of them, or tiny ones for the rehearsal."""
    return (TINY if order.rehearse else ALL)[:most]


def case_of(named: Named, order: Order) -> Case:
    """With random weights: in half precision on a GPU, with its model file."""
    config = configure(
        named.preset, named.width, height=named.height, width_px=named.columns, resize="whole",
        **({"hidden": 32} if named.preset == "robot" and order.rehearse else {}),
    )  # fmt: skip
    precision = "fp16" if order.cuda else "fp32"
    case = case_of_preset(config, str(order.device), precision)
    path = order.scratch / f"{named.preset}_{named.width:g}_{named.height}x{named.columns}_{precision}.ts"
    if not path.is_file():
        order.scratch.mkdir(parents=True, exist_ok=True)
        network = copy.deepcopy(case.step.network).cpu().float()
        export_network(network, path, precision, K_33=case.metadata.K_33)
    fields = vars(case) | {"file": path}
    torch.manual_seed(0)
    return Case(**fields)
