"""Find plugins, guard against broken ones, and make parts by their names."""

from __future__ import annotations

import difflib
import pkgutil
import warnings
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args

import pluggy

from pladapt.errors import PluginError, UnknownPluginError
from pladapt.plugins import hookspecs
from pladapt.plugins.hookspecs import Registration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.metadata import EntryPoint

    from pladapt.typing import Evaluator, Predictor, Retrainer, Selector

Kind: TypeAlias = Literal[
    "selector", "retrainer", "evaluator", "predictor", "network", "recipe", "command"
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_BUILTINS: Final = ("pladapt.plugins.builtins", "pladapt.reports.journal")


class PluginWarning(UserWarning):
    """A plugin could not be used; the others work."""


class PluginManager:
    """Knows the plugins, the parts they offer, and whom to tell what happened.

    Args:
        entry_points: The entry points to load plugins from; none for the built-in parts alone.
    """

    def __init__(self, entry_points: Iterable[EntryPoint] = ()) -> None:
        self._pluggy = pluggy.PluginManager("pladapt")
        self._pluggy.add_hookspecs(hookspecs)
        for name in _BUILTINS:
            self.register(pkgutil.resolve_name(name), name)
        for entry_point in entry_points:
            self._load(entry_point)

    def register(self, plugin: object, name: str) -> None:
        """Add a plugin: a module or object with functions marked by `pladapt.hookimpl`.

        Raises:
            PluginError: A hook is misspelt or takes an argument that its specification lacks, or
                the plugin or its name is registered already.
        """
        try:
            self._pluggy.register(plugin, name)
            self._pluggy.check_pending()
        except pluggy.PluginValidationError as error:
            if self._pluggy.is_registered(plugin):
                self._pluggy.unregister(plugin)
            raise PluginError(f"The plugin {name!r} cannot be used: {error}") from error
        except ValueError as error:  # the name or the plugin is taken, and stays with its owner
            raise PluginError(f"The plugin {name!r} cannot be added twice: {error}") from error

    def _load(self, entry_point: EntryPoint) -> None:
        try:
            self.register(entry_point.load(), entry_point.name)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's module raises
            distribution = entry_point.dist.name if entry_point.dist else "an unknown distribution"
            warnings.warn(
                f"The plugin {entry_point.name!r} ({entry_point.value}) of {distribution} was "
                f"left out, since it failed to load: {type(error).__name__}: {error}",
                PluginWarning,
                stacklevel=2,
            )

    def registrations(self, kind: Kind) -> list[tuple[str, Registration[Any]]]:
        """Return what the plugins offer, each with the name of the plugin that offers it."""
        return sorted(self._registrations(kind), key=lambda item: (item[1].name, item[0]))

    def _registrations(self, kind: Kind) -> Iterator[tuple[str, Registration[Any]]]:
        caller = getattr(self._pluggy.hook, f"pladapt_{kind}s")
        for implementation in caller.get_hookimpls():
            provider = implementation.plugin_name
            try:
                offered = list(implementation.function() or ())
            except Exception as error:  # noqa: BLE001 - whatever a stranger's hook raises
                self._warn(provider, kind, f"{type(error).__name__}: {error}")
                continue
            for item in offered:
                if isinstance(item, Registration):
                    yield provider, item
                else:
                    self._warn(provider, kind, f"{item!r} is no pladapt.Registration")

    def _warn(self, provider: str, kind: Kind, reason: str) -> None:
        warnings.warn(
            f"The {kind}s of the plugin {provider!r} were left out: {reason}",
            PluginWarning,
            stacklevel=4,
        )

    def notify(self, event: str, **facts: object) -> None:
        """Call an observer hook in every plugin; one that fails is a warning that names it.

        Args:
            event: The hook's name.
            **facts: Its arguments.
        """
        for implementation in getattr(self._pluggy.hook, event).get_hookimpls():
            wanted = {name: facts[name] for name in implementation.argnames}
            try:
                implementation.function(**wanted)
            except Exception as error:  # noqa: BLE001 - whatever a stranger's hook raises
                warnings.warn(
                    f"The plugin {implementation.plugin_name!r} failed at {event}, and the run "
                    f"goes on: {type(error).__name__}: {error}",
                    PluginWarning,
                    stacklevel=3,
                )

    def build(self, kind: Kind, name: str, /, **parameters: Any) -> Any:
        """Make the part of this kind and name.

        Raises:
            UnknownPluginError: No plugin offers it.
            PluginError: Several plugins offer it, or its factory cannot be imported.
            TypeError: It does not take these parameters.
        """
        return self._factory(kind, name)(**parameters)

    def _factory(self, kind: Kind, name: str) -> Callable[..., Any]:
        offered = self.registrations(kind)
        found = [(provider, item) for provider, item in offered if item.name == name]
        if not found:
            raise UnknownPluginError(_unknown(kind, name, [item.name for _, item in offered]))
        if len(found) > 1:
            providers = " and ".join(repr(provider) for provider, _ in found)
            raise PluginError(
                f"The {kind} {name!r} is offered by {providers}; uninstall all but one of them."
            )
        factory = found[0][1].factory
        return _resolve(factory, found[0][0]) if isinstance(factory, str) else factory


def _unknown(kind: Kind, name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return (
        f"There is no {kind} {name!r}.{hint} Known: {', '.join(known) or 'none'}. A plugin that "
        "offers it has to be installed in this environment; `pladapt plugins` lists them."
    )


def _resolve(path: str, provider: str) -> Callable[..., Any]:
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
    """Return the manager that knows every installed plugin."""
    return PluginManager(entry_points(group="pladapt"))


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
