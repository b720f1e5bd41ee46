from __future__ import annotations

import contextlib
import inspect
import logging
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import pladapt
from pladapt import Registration, hookimpl
from pladapt.cli import new
from pladapt.errors import InputError, PluginError, UnknownPluginError
from pladapt.plugins import PluginManager, PluginWarning, hookspecs
from pladapt.plugins.manager import KINDS, default_manager
from pladapt.plugins.modules import load_module
from pladapt.selection.certainty_index import CertaintyIndexSelector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS = 0.5  # for what never ends; whatever else is called here is done at once
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("pladapt_"))


@dataclass
class Announced:
    """An entry point that loads what a test says."""

    name: str
    loads: Callable[[], object]
    distribution: str = "some-distribution"
    value: str = "some_module"

    @property
    def dist(self) -> Any:
        """The distribution that announces it."""
        return SimpleNamespace(name=self.distribution)

    def load(self) -> object:
        """Return the plugin, or raise as a broken one does."""
        return self.loads()


def manager(**plugins: Callable[[], object]) -> PluginManager:
    announced: Any = [Announced(name, loads) for name, loads in plugins.items()]
    return PluginManager(announced, time_limit=SECONDS)


def foreign(plugins: PluginManager) -> list[tuple[str, str]]:
    """List the selectors that are not built in, each with its provider."""
    listed = [(provider, item.name) for provider, item in plugins.registrations("selector")]
    return [row for row in listed if row[0] != "pladapt.plugins.builtins"]


def offering(*names: str, factory: Any = CertaintyIndexSelector) -> object:
    """Make a plugin that offers a selector of each name."""

    class Plugin:
        @hookimpl
        def pladapt_selectors(self) -> list[Registration[Any]]:
            return [Registration(name, factory, "A selector.") for name in names]

    return Plugin()


def returning(value: object) -> object:
    """Make a plugin whose hook returns this."""

    class Plugin:
        @hookimpl
        def pladapt_selectors(self) -> Any:
            return value() if callable(value) else value

    return Plugin()


def test_parts_are_made_by_name() -> None:
    selector = pladapt.selector("certainty-index", cutoff=0.4, min_pixels=50, ci_limit=0.8, top_k=9)
    assert selector == CertaintyIndexSelector(cutoff=0.4, min_pixels=50, ci_limit=0.8, top_k=9)


def test_every_kind_of_part_has_its_function(toy: SimpleNamespace) -> None:
    assert isinstance(pladapt.selector("certainty-index"), pladapt.typing.Selector)
    assert isinstance(pladapt.evaluator("overlap", samples=toy.lesions()), pladapt.typing.Evaluator)
    for make, kind in (
        (pladapt.retrainer, "retrainer"),
        (pladapt.predictor, "predictor"),
        (pladapt.recipe, "recipe"),
    ):
        with pytest.raises(UnknownPluginError, match=f"no {kind} 'nothing'"):
            make("nothing")


def test_a_part_may_have_any_parameters() -> None:
    made = manager(own=lambda: offering("own", factory=dict)).build(
        "selector", "own", name="a", kind="b", self="c"
    )
    assert made == {"name": "a", "kind": "b", "self": "c"}


def test_wrong_parameters_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="cut_off"):
        pladapt.selector("certainty-index", cut_off=0.4)


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(LookupError) as caught:
        manager(own=lambda: offering("margin")).build("selector", "certainty-indx")
    assert caught.type is UnknownPluginError
    message = str(caught.value)
    assert "no selector 'certainty-indx'. Did you mean 'certainty-index'?" in message
    known = message.partition("Known: ")[2].partition(".")[0].split(", ")
    assert {"certainty-index", "margin"} <= set(known)
    assert known == sorted(known)
    assert "pladapt plugins" in message


def test_an_unknown_name_like_no_other_has_no_nearest() -> None:
    with pytest.raises(UnknownPluginError) as caught:
        manager().build("evaluator", "zzz")
    assert "Did you mean" not in str(caught.value)


def test_a_clash_names_both_when_the_part_is_asked_for() -> None:
    plugins = manager(one=lambda: offering("margin", "fine"), other=lambda: offering("margin"))
    with pytest.raises(PluginError, match="'margin' is offered by 'one' and 'other'; uninstall"):
        plugins.build("selector", "margin")
    assert plugins.build("selector", "fine") == CertaintyIndexSelector()


def test_a_plugin_cannot_replace_a_built_in_part() -> None:
    with pytest.raises(PluginError, match=r"'certainty-index' is offered by 'own' and 'pladapt\."):
        manager(own=lambda: offering("certainty-index")).build("selector", "certainty-index")


def test_what_is_offered_is_listed_with_its_provider() -> None:
    plugins = manager(own=lambda: offering("b-part", "a-part"))
    assert foreign(plugins) == [("own", "a-part"), ("own", "b-part")]
    listed = [(provider, item.name) for provider, item in plugins.registrations("selector")]
    assert ("pladapt.plugins.builtins", "certainty-index") in listed


# Broken plugins: a warning that names them, and the rest works


def breaking() -> object:
    """Fail as the module of a broken plugin does."""
    raise ImportError("cannot import name 'gone'")


def misspelt() -> object:
    """Implement a hook that does not exist."""

    class Plugin:
        @hookimpl
        def pladapt_selector(self) -> list[Any]:
            return []

    return Plugin()


def misargued() -> object:
    """Ask for an argument that the hook does not have."""

    class Plugin:
        @hookimpl
        def pladapt_scored(self, number: int, probabilities: Any) -> None:
            """Never called."""

    return Plugin()


class Silent(BaseException):
    """An error that cannot even say what it is."""

    def __str__(self) -> str:
        raise ValueError


def raising(error: BaseException) -> Callable[[], object]:
    """Make what raises this, as a module that ends the program does."""

    def loads() -> object:
        raise error

    return loads


def endless() -> object:
    """Never return, and take note of no error."""
    while True:
        with contextlib.suppress(Exception):
            time.sleep(0.001)


class Unmarked:
    """A plugin that forgot to mark its hooks."""

    def pladapt_selectors(self) -> list[Any]:
        """Offer nothing."""
        return []


@pytest.mark.parametrize(
    ("loads", "reason"),
    [
        (raising(SystemExit(0)), "SystemExit: 0"),
        (raising(GeneratorExit()), "GeneratorExit: "),
        (raising(Silent()), "failed to load: Silent$"),
        (endless, "it was stopped after 0.5 seconds; PLADAPT_PLUGIN_SECONDS"),
        (lambda: None, "PluginError: The plugin 'broken' is None; expected a module"),
        (Unmarked, "has no hook; mark its functions with @pladapt.hookimpl"),
        (breaking, "ImportError: cannot import name 'gone'"),
        (misspelt, "PluginError: .*unknown hook 'pladapt_selector'"),
        (misargued, "PluginError: .*'probabilities'"),
    ],
)
def test_a_plugin_that_fails_to_load_is_left_out_with_a_warning(
    loads: Callable[[], object], reason: str
) -> None:
    expected = rf"(?s)'broken' \(some_module\) of some-distribution was left out.*{reason}"
    with pytest.warns(PluginWarning, match=expected) as caught:
        plugins = manager(
            first=lambda: offering("first"), broken=loads, last=lambda: offering("last")
        )
    assert len(caught) == 1
    assert foreign(plugins) == [("first", "first"), ("last", "last")]
    assert plugins.build("selector", "certainty-index") == CertaintyIndexSelector()
    plugins.notify("pladapt_scored", number=1, scores=())
    (problem,) = plugins.problems
    assert (problem.plugin, problem.distribution) == ("broken", "some-distribution")
    assert problem.message == str(caught[0].message)


def test_the_user_may_end_the_program_in_a_plugin() -> None:
    with pytest.raises(KeyboardInterrupt):
        manager(own=raising(KeyboardInterrupt()))


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        (raising(SystemExit(3)), "SystemExit: 3"),
        (raising(Silent()), "Silent"),
        (endless, "it was stopped after 0.5 seconds"),
    ],
)
def test_an_observer_that_would_end_the_run_is_a_warning(
    hook: Callable[[], object], reason: str
) -> None:
    class Broken:
        @hookimpl
        def pladapt_round_started(self) -> None:
            hook()

    with pytest.warns(PluginWarning, match=f"'broken' failed at .*, and the run goes on: {reason}"):
        manager(broken=Broken).notify("pladapt_round_started", number=1)


def test_a_limit_leaves_another_timer_as_it_was() -> None:
    fired = []
    before = signal.signal(signal.SIGALRM, lambda *_: fired.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        manager(own=lambda: offering("own")).registrations("selector")
        for _ in range(100):
            time.sleep(0.005)
            if fired:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert fired


def test_a_plugin_loads_in_another_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        plugins = pool.submit(manager, own=lambda: offering("own")).result()
    assert foreign(plugins) == [("own", "own")]


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf"])
def test_a_time_limit_that_is_none_says_so(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLADAPT_PLUGIN_SECONDS", given)
    with pytest.raises(InputError, match=f"PLADAPT_PLUGIN_SECONDS is '{given}'; give a number"):
        default_manager.__wrapped__()


def test_an_observer_that_fails_is_a_warning_and_the_others_hear() -> None:
    heard = []
    plugins = PluginManager()

    class Broken:
        @hookimpl
        def pladapt_scored(self) -> None:
            raise OSError("disk full")

    class Listening:
        @hookimpl
        def pladapt_scored(self, number: int) -> None:
            heard.append(number)

    plugins.register(Broken(), "broken")
    plugins.register(Listening(), "listening")
    with pytest.warns(PluginWarning, match="'broken' failed at pladapt_scored.*OSError: disk full"):
        plugins.notify("pladapt_scored", number=4, scores=())
    assert heard == [4]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (7, "TypeError: 'int' object is not iterable"),
        ([None], "None is no pladapt.Registration"),
        (endless, "it was stopped after 0.5 seconds"),
        (raising(SystemExit(0)), "SystemExit: 0"),
        (lambda: Registration("margin", dict), "missing 1 required positional argument: 'summary'"),  # type: ignore[call-arg]  # an old signature
        ([CertaintyIndexSelector], "CertaintyIndexSelector'> is no pladapt.Registration"),
        (Registration("alone", dict, "Not in a list."), "'Registration' object is not iterable"),
        (lambda: [Registration("Not A Name", dict, "")], "named 'Not A Name'; expected lower-case"),
        (lambda: [Registration("a", 3, "")], "factory of 'a' is 3; expected a class"),  # type: ignore[arg-type]  # what is tested
        (lambda: [Registration(None, dict, "")], "named None; expected"),  # type: ignore[arg-type]  # what is tested
    ],
)
def test_a_hook_that_returns_junk_is_left_out_with_a_warning(value: object, reason: str) -> None:
    plugins = manager(broken=lambda: returning(value))
    with pytest.warns(
        PluginWarning, match=f"selectors of the plugin 'broken' were left out.*{reason}"
    ):
        assert plugins.build("selector", "certainty-index") == CertaintyIndexSelector()


def test_what_is_sound_beside_junk_can_be_used() -> None:
    plugins = manager(half=lambda: returning(["junk", Registration("sound", dict, "Sound.")]))
    with pytest.warns(PluginWarning, match="'junk' is no pladapt.Registration"):
        assert plugins.build("selector", "sound") == {}


def test_a_hook_may_return_nothing() -> None:
    plugins = manager(empty=lambda: returning(None))
    assert foreign(plugins) == []


@pytest.mark.parametrize(
    "factory", ["no_such_module:Part", "pladapt.functional.certainty:no_such_name", "a b"]
)
def test_a_factory_that_cannot_be_found_names_its_plugin(factory: str) -> None:
    plugins = manager(own=lambda: offering("part", factory=factory))
    with pytest.raises(PluginError, match=f"'own' names '{factory}', which cannot be imported"):
        plugins.build("selector", "part")


def test_a_dependency_of_a_factory_that_is_missing_says_so_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_framework\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins = manager(own=lambda: offering("part", factory="needs_more:Part"))
    with pytest.raises(ModuleNotFoundError, match="no_such_framework"):
        plugins.build("selector", "part")


def test_a_plugin_may_offer_a_recipe(toy: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def ours(*, top_k: int = 2) -> pladapt.Recipe:
        parts = toy.parts(top_k=top_k)
        return pladapt.Recipe(selector=parts["selector"], retrainer=parts["retrainer"], rounds=2)

    class Plugin:
        @hookimpl
        def pladapt_recipes(self) -> list[Registration[Any]]:
            return [Registration("ours", ours, "Ours.")]

    plugins = manager(own=Plugin)
    monkeypatch.setattr("pladapt.recipes.bundle.default_manager", lambda: plugins)
    listed = {item.name: provider for provider, item in plugins.registrations("recipe")}
    builtin = dict.fromkeys(["paper", "robust"], "pladapt.plugins.builtins")
    assert listed == {"ours": "own", **builtin}
    made = pladapt.recipe("ours", top_k=1)
    result = made.adapt(toy.Predictor(), toy.target(), plugins=PluginManager())
    assert [len(done.selection.kept) for done in result.rounds] == [1, 1]
    with pytest.raises(UnknownPluginError, match=r"no recipe 'our'\. Did you mean 'ours'?"):
        pladapt.recipe("our")
    with pytest.raises(TypeError, match="cut_off"):
        pladapt.recipe("ours", cut_off=0.5)


# Registering


def test_a_plugin_that_is_announced_twice_works_once() -> None:
    plugin = offering("own")
    with pytest.warns(PluginWarning, match=r"'second' .*cannot be added twice"):
        plugins = manager(first=lambda: plugin, second=lambda: plugin)
    assert plugins.build("selector", "own") == CertaintyIndexSelector()


def test_of_two_plugins_of_one_name_the_first_works() -> None:
    announced: Any = [
        Announced("own", lambda: offering("first")),
        Announced("own", lambda: offering("second"), "the-other", "other"),
    ]
    with pytest.warns(PluginWarning, match=r"'own' \(other\) of the-other was left out"):
        plugins = PluginManager(announced)
    assert foreign(plugins) == [("own", "first")]


@pytest.mark.parametrize("broken", [misspelt, misargued, lambda: None, Unmarked])
def test_a_broken_plugin_that_is_registered_by_hand_is_an_error(
    broken: Callable[[], object],
) -> None:
    plugins = manager()
    with pytest.raises(PluginError, match=r"plugin 'own'.* (cannot be used|is None|has no hook)"):
        plugins.register(broken(), "own")
    plugins.register(offering("sound"), "own")
    assert plugins.build("selector", "sound") == CertaintyIndexSelector()


def test_an_entry_point_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("some_plugin")
    vars(module)["pladapt_selectors"] = hookimpl(
        lambda: [Registration("from-a-module", dict, "A selector.")]
    )
    monkeypatch.setitem(sys.modules, "some_plugin", module)
    plugins = PluginManager([EntryPoint("own", "some_plugin", "pladapt")])
    assert plugins.build("selector", "from-a-module", a=1) == {"a": 1}


def test_the_default_manager_is_made_once() -> None:
    assert default_manager() is default_manager()
    assert default_manager().registrations("selector")


# Plugins that nobody packaged

FILE = """
import pladapt
from pladapt.selection.soft_dice import SoftDiceSelector as Mine

heard = []

@pladapt.hookimpl
def pladapt_selectors():
    return [pladapt.Registration("mine", "my_own_plugin:Mine", "Mine.")]

@pladapt.hookimpl
def pladapt_selected(number):
    heard.append(number)
"""


@pytest.fixture
def path_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def own_file(tmp_path: Path, path_kept: None) -> Iterator[Path]:
    path = tmp_path / "my_own_plugin.py"
    path.write_text(FILE)
    yield path
    sys.modules.pop("my_own_plugin", None)


def test_a_file_is_a_plugin(own_file: Path) -> None:
    plugins = manager()
    plugins.register_file(own_file)
    plugins.register_file(own_file)  # what is there already is not added twice
    assert plugins.build("selector", "mine", top_k=3).top_k == 3
    assert foreign(plugins) == [("my_own_plugin", "mine")]


@pytest.mark.usefixtures("path_kept")
def test_what_lies_beside_a_file_can_be_imported(tmp_path: Path) -> None:
    for path, text in new.project("selector", "my_beside").items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    plugins = manager()
    plugins.register_file(tmp_path / "my_beside_plugin.py")
    assert plugins.build("selector", "my-beside", power=2.0).power == 2.0
    for name in ("my_beside", "my_beside_plugin"):
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("gone.py", None, FileNotFoundError, "no file .*gone.py"),
        ("json.py", "", PluginError, "already that of another one; rename the file"),
        ("my-plugin.py", "", PluginError, "no name of a module"),
        ("words.txt", "", PluginError, "no file of Python"),
        ("ends.py", "raise SystemExit(0)", PluginError, "cannot be imported: SystemExit: 0"),
        ("torn.py", "def", PluginError, "cannot be imported: SyntaxError"),
        ("hookless.py", "", PluginError, "has no hook"),
    ],
)
@pytest.mark.usefixtures("path_kept")
def test_a_file_that_is_no_plugin_says_so(
    name: str, text: str | None, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=message):
        manager().register_file(path)
    sys.modules.pop("hookless", None)


def test_a_run_notifies_the_plugins_that_it_is_given(
    toy: SimpleNamespace, own_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Observer()
    installed = manager(first=lambda: first)
    monkeypatch.setattr("pladapt.plugins.manager.default_manager", lambda: installed)
    module, *others = load_module(own_file), Observer(), Observer()
    pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts(), plugins=[module, *others])
    assert vars(module)["heard"] == [1]
    assert others[0].names == others[1].names == first.names == a_round(1)
    with pytest.raises(PluginError, match="is None"):
        pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts(), plugins=[None])


# Hooks


class Observer:
    """A plugin that implements every hook, offers nothing, and remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    @hookimpl
    def pladapt_selectors(self) -> None:
        self.told.append(("pladapt_selectors",))

    @hookimpl
    def pladapt_retrainers(self) -> None:
        self.told.append(("pladapt_retrainers",))

    @hookimpl
    def pladapt_evaluators(self) -> None:
        self.told.append(("pladapt_evaluators",))

    @hookimpl
    def pladapt_gates(self) -> None:
        self.told.append(("pladapt_gates",))

    @hookimpl
    def pladapt_recalibrators(self) -> None:
        self.told.append(("pladapt_recalibrators",))

    @hookimpl
    def pladapt_predictors(self) -> None:
        self.told.append(("pladapt_predictors",))

    @hookimpl
    def pladapt_networks(self) -> None:
        self.told.append(("pladapt_networks",))

    @hookimpl
    def pladapt_recipes(self) -> None:
        self.told.append(("pladapt_recipes",))

    @hookimpl
    def pladapt_commands(self) -> None:
        self.told.append(("pladapt_commands",))

    @hookimpl
    def pladapt_round_started(self, number: int) -> None:
        self.told.append(("pladapt_round_started", number))

    @hookimpl
    def pladapt_scored(self, number: int, scores: Any) -> None:
        self.told.append(("pladapt_scored", number, scores))

    @hookimpl
    def pladapt_selected(self, number: int, selection: Any) -> None:
        self.told.append(("pladapt_selected", number, selection))

    @hookimpl
    def pladapt_retrained(self, number: int, predictor: Any) -> None:
        self.told.append(("pladapt_retrained", number, predictor))

    @hookimpl
    def pladapt_round_finished(self, number: int, evaluations: Any) -> None:
        self.told.append(("pladapt_round_finished", number, evaluations))

    @property
    def names(self) -> list[tuple[Any, ...]]:
        """What was told, and in which round."""
        return [event[:2] for event in self.told]


def observed() -> tuple[Observer, PluginManager]:
    observer = Observer()
    return observer, manager(observer=lambda: observer)


def a_round(number: int) -> list[tuple[str, int]]:
    events = ("round_started", "scored", "selected", "retrained", "round_finished")
    return [(f"pladapt_{event}", number) for event in events]


def test_every_hook_fires_and_in_order(toy: SimpleNamespace) -> None:
    observer, plugins = observed()
    for kind in KINDS:
        plugins.registrations(kind)
    result = pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts(), rounds=2, plugins=plugins)
    config = [(f"pladapt_{kind}s",) for kind in KINDS]
    assert observer.names == [*config, *a_round(1), *a_round(2)]
    assert sorted({name for name, *_ in observer.names}) == HOOKS
    last = {event[0]: event[-1] for event in observer.told[-4:]}
    assert last["pladapt_scored"].equals(result.rounds[1].scores)
    assert last["pladapt_selected"] is result.rounds[1].selection
    assert last["pladapt_retrained"] is result.predictor
    assert last["pladapt_round_finished"] == result.rounds[1].evaluations


def test_a_round_that_selects_nothing_ends_too(toy: SimpleNamespace) -> None:
    observer, plugins = observed()
    parts = toy.parts(min_pixels=10)
    pladapt.adapt(toy.Predictor(), toy.target(), **parts, rounds=2, plugins=plugins)
    assert observer.names == [event for event in a_round(1) if event[0] != "pladapt_retrained"]
    assert observer.told[-1][-1] == {}


def test_a_continued_run_tells_only_what_happens_now(toy: SimpleNamespace, tmp_path: Path) -> None:
    options = toy.parts() | {"workdir": tmp_path}
    pladapt.adapt(toy.Predictor(), toy.target(), **options)
    observer, plugins = observed()
    pladapt.adapt(toy.Predictor(), toy.target(), **options, plugins=plugins)
    assert observer.names == [("pladapt_round_started", 1), ("pladapt_round_finished", 1)]


def test_an_observer_cannot_change_the_result(toy: SimpleNamespace) -> None:
    class Meddler:
        @hookimpl
        def pladapt_round_finished(self, evaluations: dict[str, Any]) -> None:
            evaluations.clear()

    meddling = manager(own=Meddler)
    result = pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts(), plugins=meddling)
    assert list(result.rounds[0].evaluations) == ["overlap"]


def test_a_run_tells_the_log(toy: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="pladapt"):
        pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts(), plugins=manager())
    assert [record.getMessage() for record in caplog.records] == [
        "Round 1 started.",
        "Round 1: selection {'kept': 3, 'top_k': 3, 'limit': 1}.",
        "Round 1: retrained a Brightness.",
        "Round 1 finished; evaluated by overlap.",
    ]


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_and_each_of_its_arguments_is_documented(name: str) -> None:
    hook = getattr(hookspecs, name)
    assert inspect.getdoc(hook)
    for argument in inspect.signature(hook).parameters:
        assert f"{argument}: " in hook.__doc__.partition("Args:")[2]
