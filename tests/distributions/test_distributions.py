"""What is in the distributions that `tox -e build` made."""

import os
import re
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = "https://github.com/pladapt/pladapt"
NAMES = ["pladapt", "pladapt_covid_ct"]

if "PLADAPT_DISTRIBUTIONS" not in os.environ:
    pytest.skip("tox -e build makes the distributions", allow_module_level=True)
DISTRIBUTIONS = Path(os.environ["PLADAPT_DISTRIBUTIONS"])


def found(pattern: str) -> Path:
    (path,) = DISTRIBUTIONS.glob(pattern)
    return path


def in_sdist(name: str) -> set[str]:
    with tarfile.open(found(f"{name}-*.tar.gz")) as archive:
        return {path.partition("/")[2] for path in archive.getnames()}


def in_wheel(name: str) -> set[str]:
    with zipfile.ZipFile(found(f"{name}-*.whl")) as archive:
        return set(archive.namelist())


def metadata(name: str) -> Message:
    with zipfile.ZipFile(found(f"{name}-*.whl")) as archive:
        (path,) = (path for path in archive.namelist() if path.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(path))


def described(name: str) -> str:
    body = metadata(name).get_payload(decode=True)
    assert isinstance(body, bytes)
    return body.decode()


def files(folder: str) -> set[str]:
    """List the files that belong to a folder, without what tools leave there."""
    left = {"__pycache__", "_build", "build"}
    paths = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if not left & set(path.parts)}


def test_the_sdist_has_all_that_the_tests_read() -> None:
    wanted = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md"}
    wanted |= {"pyproject.toml", "tox.ini", ".ci/run"}
    for folder in ("benchmarks", "docs", "examples", "src", "tests"):
        wanted |= files(folder)
    assert wanted - in_sdist("pladapt") == set()


@pytest.mark.parametrize(
    ("name", "source"), [("pladapt", "src"), ("pladapt_covid_ct", "examples/covid_ct/src")]
)
def test_a_wheel_has_the_package_and_its_licence_and_nothing_else(name: str, source: str) -> None:
    package = {path.removeprefix(f"{source}/") for path in files(source)}
    others = {path for path in in_wheel(name) - package if ".dist-info/" not in path}
    assert package - in_wheel(name) == others == set()
    assert f"{name}/py.typed" in package
    assert any(path.endswith(".dist-info/licenses/LICENSE") for path in in_wheel(name))


def test_the_example_needs_the_pladapt_that_it_is_published_with() -> None:
    versions = {name: metadata(name)["Version"] for name in NAMES}
    needed = metadata("pladapt_covid_ct").get_all("Requires-Dist", [])
    assert versions["pladapt"] == versions["pladapt_covid_ct"]
    assert f"pladapt[report,torch]>={versions['pladapt'].rpartition('.')[0]}" in needed


@pytest.mark.parametrize("name", NAMES)
def test_every_link_of_a_description_leads_somewhere_from_a_package_index(name: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", described(name))
    links += [url.partition(", ")[2] for url in metadata(name).get_all("Project-URL", [])]
    assert [link for link in links if not link.startswith("https://")] == []
    pages = [re.sub(r"^/(blob|tree)/main/|#.*", "", link.removeprefix(PAGES)) for link in links]
    missing = [page for page in pages if "://" not in page and not (ROOT / page).exists()]
    assert missing == []


def test_the_versions_of_python_are_those_that_tox_runs() -> None:
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    classifiers = metadata("pladapt").get_all("Classifier", [])
    claimed = [c.rpartition(" :: ")[2] for c in classifiers if " :: Python :: 3." in c]
    tested = re.findall(r"^    (?:core-)?py3(\d+)$", tox, re.MULTILINE)
    assert claimed == [f"3.{minor}" for minor in tested]
    assert metadata("pladapt")["Requires-Python"] == f">={claimed[0]}"
