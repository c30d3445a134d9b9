"""Settings: checked dataclasses, filled from files that may name a base, and from a command line."""

from vlocnetpp.settings.build import build
from vlocnetpp.settings.describe import Setting, docs_of, settings_of, type_name
from vlocnetpp.settings.files import merge, nested, on_base, read_settings

__all__ = ["Setting", "build", "docs_of", "merge", "nested", "on_base", "read_settings", "settings_of", "type_name"]
