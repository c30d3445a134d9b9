"""From a 720p bgra8 array on the host to pose and mask on the host, each switch of the runtime alone and all together.

The ways run in turn, so that ratios hold on a card that slows down. "resized on the host" is the same network fed with
an image that OpenCV has scaled down, what preprocessing on the device is held against.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.networks import case_of, networks
from benchmarks.gpu.part import Order, main, reason, say, spread
from vlocnetpp.runtime import Localizer, load_model
from vlocnetpp.speed.ways import FAILURES

ROWS, COLUMNS = 720, 1280
FRAMES, REHEARSED, WARM_UP = 2000, 5, 4
SWITCHES: dict[str, tuple[dict[str, bool], dict[str, bool]]] = {
    "plain": ({}, {}),
    "resized on the host": ({}, {}),
    "pinned": ({}, {"pinned": True}),
    "one wait": ({}, {"one_wait": True}),
    "pinned, one wait": ({}, {"pinned": True, "one_wait": True}),
    "CUDA graph": ({"cuda_graph": True}, {}),
    "CUDA graph, resident": ({"cuda_graph": True, "resident": True}, {}),
    "all": ({"cuda_graph": True, "resident": True}, {"pinned": True, "one_wait": True}),
}
"""What the loader and what the localizer is told."""


def frame_of(localizer: Localizer, resizes: bool) -> Callable[[int], object]:
    """One frame, by number, from the array of a camera to an estimate."""
    random = np.random.default_rng(0)
    camera_HW4: NDArray[np.uint8] = random.integers(0, 256, (ROWS, COLUMNS, 4), np.uint8)
    size = (localizer.model.metadata.input_height, localizer.model.metadata.input_width)
    height, width = size if resizes else (ROWS, COLUMNS)
    K_33 = localizer.training_intrinsics(height, width)

    def run(number: int) -> object:
        image = camera_HW4
        if resizes:
            image = np.asarray(cv2.resize(camera_HW4, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        return localizer.localize(image, K_33, (number + 1) * 10_000_000, "bgra8")

    return run


def run(order: Order) -> None:
    """The part."""
    named = networks(order, 1 if order.rehearse else 2)
    for number, each in enumerate(named):
        case = case_of(each, order)
        assert case.file is not None
        ways = {}
        for name, (loader, localizer) in SWITCHES.items():
            try:
                model = load_model(case.file, str(order.device), case.precision, **loader)  # type: ignore[arg-type]
                way = frame_of(Localizer(model, **localizer), name.startswith("resized"))  # type: ignore[arg-type]
                for i in range(WARM_UP):
                    way(i)
            except FAILURES as error:
                say(f"{each.label}, 720p, {name}", "does not run", reason(error))
                continue
            ways[name] = way
        times: dict[str, list[float]] = {name: [] for name in ways}
        until = perf_counter() + order.left_s / (len(named) - number) * 0.8
        for i in range(REHEARSED if order.rehearse else FRAMES):
            if perf_counter() > until:
                break
            for name, way in ways.items():
                began = perf_counter()
                way(WARM_UP + i)
                times[name].append((perf_counter() - began) * 1e3)
        for name, values in times.items():
            ratio = np.median(np.array(values) / np.array(times["plain"]))
            say(f"{each.label}, 720p, {name}", spread(np.array(values)), f"ms; {ratio:.2f} of plain")


if __name__ == "__main__":
    main(__doc__, run)
