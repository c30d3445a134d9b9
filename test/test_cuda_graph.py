"""The recorded step: its buffers and its own check, on the CPU; on a GPU see test_cuda."""

from __future__ import annotations

import pytest
import torch
from random_models import random_network
from tape import Tape

from vlocnetpp.runtime.cuda_graph import MOST, RecordedStep
from vlocnetpp.step import State


def toy_step(image, channels, K, depth, state):
    """Remembers how many steps were taken and the mean of each image."""
    brightness = image.float().mean().reshape(1, 1)
    new = {"count": state["count"] + 1, "last": brightness.expand(1, 7).clone()}
    pose = state["last"] + brightness + state["count"]
    return {"pose_B7": pose, "relative_B7": pose * 2, "mask_BHW": image[..., 0].clone()}, new


def frame(level: int, height: int = 4):
    return torch.full((1, height, 6, 3), level, dtype=torch.uint8), torch.arange(3), torch.eye(3)[None], torch.zeros(1)


def cold() -> State:
    return {"count": torch.zeros(1), "last": torch.zeros(1, 7)}


def answers(step, levels):
    found, state = [], cold()
    for level in levels:
        answer, state = step(*frame(level), state)
        found.append(answer)
    return found


def test_a_resident_state_is_written_by_the_recording_and_not_copied():
    step = RecordedStep(toy_step, torch.float32, Tape(), resident=True)
    plain, state, expected = answers(toy_step, (10, 20, 30)), cold(), cold()
    memory = None
    for level, right in zip((10, 20, 30), plain):
        answer, state = step(*frame(level), state)
        _, expected = toy_step(*frame(level), expected)
        assert all(torch.equal(value, right[name]) for name, value in answer.items())
        assert all(torch.equal(value, expected[name]) for name, value in state.items())
        memory = memory or state["last"].data_ptr()
        assert state["last"].data_ptr() == memory, "the next step reads it where this one wrote it"
    # A cold start in between is copied in.
    answer, _ = step(*frame(10), cold())
    assert torch.equal(answer["pose_B7"], plain[0]["pose_B7"])


def test_a_recorded_step_answers_as_the_plain_one_and_its_answers_stay():
    tape = Tape()
    recorded = answers(RecordedStep(toy_step, torch.float32, tape), (10, 20, 30, 20))
    plain = answers(toy_step, (10, 20, 30, 20))
    assert tape.recorded == 1
    for a, b in zip(plain, recorded):  # compared at the end: a later step must not have overwritten them
        assert all(torch.equal(x, y) for x, y in zip(a.values(), b.values()))
    assert not torch.equal(plain[1]["pose_B7"], plain[3]["pose_B7"]), "the past counts"


def test_every_size_has_its_recording_and_few_are_kept():
    tape = Tape()
    step = RecordedStep(toy_step, torch.float32, tape)
    for height in (4, 5, 4, 6, 6, 4):
        answer, _ = step(*frame(1, height), cold())
        assert answer["mask_BHW"].shape == (1, height, 6)
    assert tape.recorded == 4 and len(step._recordings) == MOST == 2


@pytest.mark.parametrize(
    ("tape", "reason"),
    [(Tape(error="operation not permitted when stream is capturing"), "not permitted"),
     (Tape(shift=0.5), "differ by"), (Tape(shift=float("nan")), "differ by nan")],
)  # fmt: skip
def test_a_recording_that_fails_or_answers_otherwise_is_not_used_and_the_reason_is_said(tape, reason):
    step = RecordedStep(toy_step, torch.float32, tape)
    with pytest.warns(RuntimeWarning, match=reason):
        found = answers(step, (10, 20))
    assert all(
        torch.equal(x, y) for a, b in zip(answers(toy_step, (10, 20)), found) for x, y in zip(a.values(), b.values())
    )


WAITS = {"aten::tensor", "aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::Bool", "aten::is_nonzero",
         "aten::IntImplicit", "aten::FloatImplicit", "aten::ScalarImplicit", "aten::masked_select"}  # fmt: skip
"""Operators that bring a number from the host to the device or back, for which the host waits and a graph cannot."""


def kinds_of(block) -> set[str]:
    """Operators of a graph, blocks of branches included."""
    nodes = list(block.nodes())
    return {node.kind() for node in nodes}.union(*(kinds_of(inner) for node in nodes for inner in node.blocks()))


@pytest.mark.parametrize(("preset", "settings"), [("vlocnet", {}), ("mtl", {"coordinates": "res3"}), ("robot", {})])
def test_no_operator_of_a_step_waits_for_the_device(preset, settings):
    from vlocnetpp.export.torchscript import ExportedStep

    step = torch.jit.freeze(torch.jit.script(ExportedStep(random_network(preset, **settings)).eval()))
    kinds = kinds_of(step.graph)
    assert "aten::conv2d" in kinds and not kinds & WAITS
