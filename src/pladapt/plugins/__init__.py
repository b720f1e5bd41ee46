"""The plugin manager, the hooks, and the built-in parts' registrations."""

from pladapt.plugins.hookspecs import Registration, hookimpl
from pladapt.plugins.manager import (
    PluginManager,
    PluginWarning,
    default_manager,
    evaluator,
    predictor,
    retrainer,
    selector,
)

__all__ = [
    "PluginManager",
    "PluginWarning",
    "Registration",
    "default_manager",
    "evaluator",
    "hookimpl",
    "predictor",
    "retrainer",
    "selector",
]
