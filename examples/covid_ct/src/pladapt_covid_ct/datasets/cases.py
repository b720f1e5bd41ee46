"""Which files of a download belong together: image and masks of one case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from pladapt_covid_ct.datasets.files import File, find_files, with_extension

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from pladapt_covid_ct.datasets.base import Problems

Cases: TypeAlias = dict[str, dict[str, File]]
"""Each case's file of each role, by case."""

_NIFTI: Final = (".nii", ".nii.gz")


def find_nifti(folder: Path, problems: Problems) -> list[File]:
    """Return every NIfTI file in a folder and its archives."""
    return with_extension(find_files(folder, problems), *_NIFTI)


def cases_by_folder(
    files: Iterable[File],
    roles: Mapping[str, str],
    case_of: Callable[[str], str | None],
    problems: Problems,
) -> Cases:
    """Gather files whose folder tells the role and whose name tells the case.

    Args:
        files: Those to prefer first.
        roles: The role of each folder's name, in lower case.
        case_of: The case that a file's stem names, or None.
        problems: Takes the files that lie elsewhere, are named otherwise or come twice.
    """

    def identified() -> Iterator[tuple[str, str, File]]:
        for file in files:
            role, case = file.role(roles), case_of(file.stem)
            if role is None:
                problems.skip(file.path, f"It lies in no folder named {', '.join(roles)}.")
            elif case is None:
                problems.skip(file.path, "Its name is not that of a case of the data set.")
            else:
                yield case, role, file

    return gather(identified(), problems)


def gather(files: Iterable[tuple[str, str, File]], problems: Problems) -> Cases:
    """Gather files into cases, in the order of the cases' names.

    Args:
        files: ``(case, role, file)``, the files to prefer first.
        problems: Takes a second file on disk for the same case and role. A member of an archive
            gives way silently to a file on disk: the archive was unpacked and kept.
    """
    cases: Cases = {}
    for case, role, file in files:
        taken = cases.setdefault(case, {}).setdefault(role, file)
        if taken is not file and len(taken.members) == len(file.members):
            problems.skip(file.path, f"It is a second {role} of {case}, beside {taken.path}.")
    return dict(sorted(cases.items()))


def complete(cases: Cases, roles: Iterable[str], problems: Problems) -> Cases:
    """Return the cases that have every role; each other case is a problem."""
    wanted = set(roles)
    for case, files in cases.items():
        if missing := sorted(wanted - set(files)):
            path = next(iter(files.values())).path
            problems.skip(path, f"Case {case} has no {' and no '.join(missing)}.")
    return {case: files for case, files in cases.items() if wanted <= set(files)}


def masked(
    files: Iterable[File], identify: Callable[[str], tuple[str, str] | None], problems: Problems
) -> tuple[Cases, int]:
    """Gather ``image`` and ``mask`` files of the cases that have a mask.

    Args:
        files: Those to prefer first.
        identify: The case and the role that a file's stem names, or None for another file.
        problems: Takes masks without an image.

    Returns:
        The cases, and how many were left out because the data have no mask of them.
    """
    known = ((identify(file.stem), file) for file in files)
    cases = gather(((*name, file) for name, file in known if name), problems)
    with_mask = {case: roles for case, roles in cases.items() if "mask" in roles}
    return complete(with_mask, ["image"], problems), len(cases) - len(with_mask)
