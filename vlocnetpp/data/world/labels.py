"""DeepLoc's ten classes: every pixel of the rendered world has one of them."""

from __future__ import annotations

from vlocnetpp.data.frames import LabelClass

BACKGROUND, SKY, ROAD, SIDEWALK, GRASS, VEGETATION, BUILDING, POLES, DYNAMIC, OTHER = range(10)

CLASSES: tuple[LabelClass, ...] = (
    LabelClass("Background", (40, 40, 40)),
    LabelClass("Sky", (86, 180, 233)),
    LabelClass("Road", (128, 128, 128)),
    LabelClass("Sidewalk", (204, 160, 190)),
    LabelClass("Grass", (120, 200, 140)),
    LabelClass("Vegetation", (0, 110, 80)),
    LabelClass("Building", (190, 95, 40)),
    LabelClass("Poles & Fences", (240, 228, 66)),
    LabelClass("Dynamic", (0, 70, 178)),
    LabelClass("Other", (230, 159, 0)),
)
"""DeepLoc's ten classes in its order; colours after Okabe and Ito, told apart by lightness as well as by hue.
Indoors, Road is floor that is driven on, Sidewalk is other floor, Building is walls, ceiling, doors and windows."""
