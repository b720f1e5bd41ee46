"""Find plugins, guard against broken ones, and make parts by their names."""

from __future__ import annotations

import difflib
import os
import pkgutil
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args

import pluggy

from pladapt.errors import InputError, PluginError, UnknownPluginError
from pladapt.functional.numbers import plain
from pladapt.plugins import hookspecs
from pladapt.plugins.guard import CallFailedError, call
from pladapt.plugins.hookspecs import Registration
from pladapt.plugins.modules import load_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from pladapt.typing import Evaluator, Gate, Predictor, Recalibrator, Retrainer, Selector

Kind: TypeAlias = Literal[
    "selector",
    "retrainer",
    "evaluator",
    "gate",
    "recalibrator",
    "predictor",
    "network",
    "recipe",
    "command",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

BUILTINS: Final = ("pladapt.plugins.builtins", "pladapt.reports.journal")
"""The plugins that come with pladapt."""

_SECONDS: Final = "PLADAPT_PLUGIN_SECONDS"


class PluginWarning(UserWarning):
    """A plugin could not be used; the others work."""


@dataclass(frozen=True, slots=True)
class PluginProblem:
    """What was left out of a plugin.

    Args:
        plugin: The plugin's name.
        distribution: What it came with, as ``name version``; empty where that is not known.
        message: What was left out, and why.
    """

    plugin: str
    distribution: str
    message: str


class PluginManager:
    """Knows the plugins, the parts they offer, and whom to tell what happened.

    Whatever a plugin raises, `SystemExit` included, is a `PluginWarning` that names it, and so is a
    call that takes too long; only `KeyboardInterrupt`, by which a user ends the program, is not
    kept back.

    Args:
        entry_points: The entry points to load plugins from; none for the built-in parts alone.
        time_limit: How many seconds the import of a plugin, and each call of a hook, may take.
    """

    def __init__(
        self, entry_points: Iterable[EntryPoint] = (), *, time_limit: float = 120.0
    ) -> None:
        self.time_limit = time_limit
        self._pluggy = pluggy.PluginManager("pladapt")
        self._pluggy.add_hookspecs(hookspecs)
        self._distributions: dict[str, str] = {}
        self._problems: dict[PluginProblem, None] = {}
        for name in BUILTINS:
            self.register(pkgutil.resolve_name(name), name)
        for entry_point in entry_points:
            self._load(entry_point)

    def register(self, plugin: object, name: str) -> None:
        """Add a plugin: a module or object with functions marked by `pladapt.hookimpl`.

        Raises:
            PluginError: A hook is misspelt or takes an argument that its specification lacks, there
                is no hook at all, or the plugin or its name is registered already.
        """
        if plugin is None:
            raise PluginError(
                f"The plugin {name!r} is None; expected a module or an object with hooks."
            )
        try:
            self._pluggy.register(plugin, name)
            self._pluggy.check_pending()
        except pluggy.PluginValidationError as error:
            if self._pluggy.is_registered(plugin):
                self._pluggy.unregister(plugin)
            raise PluginError(f"The plugin {name!r} cannot be used: {error}") from error
        except ValueError as error:  # the name or the plugin is taken, and stays with its owner
            raise PluginError(f"The plugin {name!r} cannot be added twice: {error}") from error
        if not self._pluggy.get_hookcallers(plugin):
            self._pluggy.unregister(plugin)
            raise PluginError(
                f"The plugin {name!r}, {plugin!r}, has no hook; mark its functions with "
                "@pladapt.hookimpl."
            )

    def register_file(self, path: Path) -> None:
        """Add the plugin that a file of Python is, unless that was done before.

        Raises:
            MissingDataError: There is no such file.
            PluginError: It cannot be imported, or as for `register`.
        """
        module = load_module(path)
        if not self._pluggy.is_registered(module):
            self.register(module, module.__name__)

    def including(self, plugins: Iterable[object]) -> PluginManager:
        """Return a manager that knows these plugins as well.

        Each is named after itself, if it is a module, or after its class.

        Raises:
            PluginError: As for `register`.
        """
        made = PluginManager(time_limit=self.time_limit)
        made._distributions |= self._distributions
        made._problems |= self._problems
        for name, plugin in self._pluggy.list_name_plugin():
            if name not in BUILTINS:
                made.register(plugin, name)
        for plugin in plugins:
            name = getattr(plugin, "__name__", type(plugin).__name__)
            taken = sum(known.split("#")[0] == name for known in made.names)
            made.register(plugin, f"{name}#{taken + 1}" if taken else name)
        return made

    @property
    def names(self) -> list[str]:
        """The plugins' names, in the order in which they were registered."""
        return [name for name, _ in self._pluggy.list_name_plugin()]

    @property
    def problems(self) -> list[PluginProblem]:
        """What has been left out so far, and why."""
        return list(self._problems)

    def distribution(self, plugin: str) -> str:
        """Return what a plugin came with, as ``name version``; empty where that is not known."""
        return self._distributions.get(plugin, "")

    def _load(self, entry_point: EntryPoint) -> None:
        found = entry_point.dist
        name = found.name if found else "an unknown distribution"
        came_with = f"{name} {getattr(found, 'version', '')}".strip() if found else ""
        try:
            plugin = call(entry_point.load, self.time_limit)
            call(lambda: self.register(plugin, entry_point.name), self.time_limit)
        except CallFailedError as error:
            self.warn(
                entry_point.name,
                f"The plugin {entry_point.name!r} ({entry_point.value}) of {name} was "
                f"left out, since it failed to load: {error}",
                came_with,
            )
        else:
            self._distributions[entry_point.name] = came_with

    def registrations(self, kind: Kind) -> list[tuple[str, Registration[Any]]]:
        """Return what the plugins offer, each with the name of the plugin that offers it."""
        return sorted(self._registrations(kind), key=lambda item: (item[1].name, item[0]))

    def _registrations(self, kind: Kind) -> Iterator[tuple[str, Registration[Any]]]:
        caller = getattr(self._pluggy.hook, f"pladapt_{kind}s")
        for implementation in caller.get_hookimpls():
            provider = implementation.plugin_name
            for item in self._offered(provider, kind, implementation.function):
                if isinstance(item, Registration):
                    yield provider, item
                else:
                    self._leave_out(provider, kind, f"{item!r} is no pladapt.Registration")

    def _offered(
        self, provider: str, kind: Kind, hook: Callable[[], Iterable[object] | None]
    ) -> list[object]:
        try:
            return call(lambda: list(hook() or ()), self.time_limit)
        except CallFailedError as error:
            self._leave_out(provider, kind, str(error))
            return []

    def _leave_out(self, provider: str, kind: Kind, reason: str) -> None:
        self.warn(provider, f"The {kind}s of the plugin {provider!r} were left out: {reason}")

    def warn(self, plugin: str, message: str, distribution: str | None = None) -> None:
        """Warn of what is left out of a plugin, and remember it as one of the `problems`."""
        came_with = self.distribution(plugin) if distribution is None else distribution
        self._problems[PluginProblem(plugin, came_with, message)] = None
        warnings.warn(message, PluginWarning, stacklevel=3)

    def hears(self, event: str) -> bool:
        """Return whether a plugin has this observer hook, so that it is worth preparing for."""
        return bool(getattr(self._pluggy.hook, event).get_hookimpls())

    def notify(self, event: str, **facts: object) -> None:
        """Call an observer hook in every plugin; one that fails is a warning that names it.

        Args:
            event: The hook's name.
            **facts: Its arguments.
        """
        for implementation in getattr(self._pluggy.hook, event).get_hookimpls():
            wanted = {name: facts[name] for name in implementation.argnames}
            try:
                call(implementation.function, self.time_limit, **wanted)
            except CallFailedError as error:
                self.warn(
                    implementation.plugin_name,
                    f"The plugin {implementation.plugin_name!r} failed at {event}, and the run "
                    f"goes on: {error}",
                )

    def build(self, kind: Kind, name: str, /, **parameters: Any) -> Any:
        """Make the part of this kind and name.

        Raises:
            UnknownPluginError: No plugin offers it.
            PluginError: Several plugins offer it, or its factory cannot be imported.
            TypeError: It does not take these parameters.
        """
        return self.factory(kind, name)(**{k: plain(v) for k, v in parameters.items()})

    def factory(self, kind: Kind, name: str) -> Callable[..., Any]:
        """Return what makes the part of this kind and name.

        Raises:
            UnknownPluginError: No plugin offers it.
            PluginError: Several plugins offer it, or it cannot be imported.
        """
        offered = self.registrations(kind)
        found = [(provider, item) for provider, item in offered if item.name == name]
        if not found:
            raise UnknownPluginError(_unknown(kind, name, [item.name for _, item in offered]))
        if len(found) > 1:
            providers = " and ".join(repr(provider) for provider, _ in found)
            raise PluginError(
                f"The {kind} {name!r} is offered by {providers}; uninstall all but one of them."
            )
        return factory_of(found[0][1], found[0][0])


def _unknown(kind: Kind, name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return (
        f"There is no {kind} {name!r}.{hint} Known: {', '.join(known) or 'none'}. A plugin that "
        "offers it has to be installed in this environment, or given with --plugin; `pladapt "
        "plugins` lists them."
    )


def factory_of(registration: Registration[Any], provider: str) -> Callable[..., Any]:
    """Return what makes a part, imported where the plugin says so by its place.

    Raises:
        PluginError: It cannot be imported.
        ModuleNotFoundError: It needs a package that is not installed.
    """
    path = registration.factory
    if not isinstance(path, str):
        return path
    try:
        return cast("Callable[..., Any]", pkgutil.resolve_name(path))
    except (AttributeError, ImportError, ValueError) as error:
        module = path.partition(":")[0]
        if isinstance(error, ModuleNotFoundError) and not f"{module}.".startswith(f"{error.name}."):
            raise  # an optional dependency: its message says what to install
        raise PluginError(
            f"The plugin {provider!r} names {path!r}, which cannot be imported: {error}"
        ) from error


@cache
def default_manager() -> PluginManager:
    """Return the manager that knows every installed plugin.

    The time limit of its calls is 120 seconds, or what ``PLADAPT_PLUGIN_SECONDS`` says.

    Raises:
        InputError: That is no number above 0.
    """
    given = os.environ.get(_SECONDS, "120")
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"{_SECONDS} is {given!r}; give a number of seconds above 0.")
    return PluginManager(entry_points(group="pladapt"), time_limit=seconds)


def manager_of(plugins: PluginManager | Iterable[object] | None) -> PluginManager:
    """Return a manager as given; else the default one, with the plugins that are given.

    Raises:
        PluginError: As for `PluginManager.register`.
    """
    if isinstance(plugins, PluginManager):
        return plugins
    return default_manager() if plugins is None else default_manager().including(plugins)


def selector(name: str, /, **parameters: Any) -> Selector:
    """Make the selector of this name.

    Raises:
        UnknownPluginError: No installed plugin offers it.
        TypeError: It does not take these parameters.
    """
    return cast("Selector", default_manager().build("selector", name, **parameters))


def retrainer(name: str, /, **parameters: Any) -> Retrainer:
    """Make the retrainer of this name; errors as for `selector`."""
    return cast("Retrainer", default_manager().build("retrainer", name, **parameters))


def evaluator(name: str, /, **parameters: Any) -> Evaluator:
    """Make the evaluator of this name; errors as for `selector`."""
    return cast("Evaluator", default_manager().build("evaluator", name, **parameters))


def predictor(name: str, /, **parameters: Any) -> Predictor:
    """Make the predictor of this name; errors as for `selector`."""
    return cast("Predictor", default_manager().build("predictor", name, **parameters))


def gate(name: str, /, **parameters: Any) -> Gate:
    """Make the gate of this name; errors as for `pladapt.selector`."""
    return cast("Gate", default_manager().build("gate", name, **parameters))


def recalibrator(name: str, /, **parameters: Any) -> Recalibrator:
    """Make the recalibrator of this name; errors as for `pladapt.selector`."""
    return cast("Recalibrator", default_manager().build("recalibrator", name, **parameters))
