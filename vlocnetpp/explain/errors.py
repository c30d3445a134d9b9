"""The error for requests that cannot be explained."""

from __future__ import annotations


class ExplainError(ValueError):
    """A model, a layer or a split cannot be explained; the message says which and why in one line."""
