"""The plugin manager, the hooks, and the built-in parts' registrations."""

from pladapt.plugins.hookspecs import Registration, hookimpl
from pladapt.plugins.manager import (
    PluginManager,
    PluginProblem,
    PluginWarning,
    default_manager,
    evaluator,
    gate,
    predictor,
    recalibrator,
    retrainer,
    selector,
)

__all__ = [
    "PluginManager",
    "PluginProblem",
    "PluginWarning",
    "Registration",
    "default_manager",
    "evaluator",
    "gate",
    "hookimpl",
    "predictor",
    "recalibrator",
    "retrainer",
    "selector",
]
