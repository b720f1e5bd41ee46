"""Masks as the annotations of other tools, one for each connected component, and back."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET

import numpy as np
from scipy import ndimage

from pladapt.errors import DataError
from pladapt.review.brush import from_brush, to_brush
from pladapt.storage import atomic_write, read_json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

IMAGES: Final = "images"
"""The folder of the pictures that the annotations are of."""

_TOUCHING: Final = np.ones((3, 3), np.uint8)


class Item(NamedTuple):
    """A picture and its mask.

    Args:
        file: The picture's name in the folder `IMAGES`.
        mask: ``(H, W)`` uint8.
    """

    file: str
    mask: NDArray[np.uint8]


class Format(Protocol):
    """What writes and reads the annotations of a tool."""

    def write(self, items: Sequence[Item], names: Mapping[int, str], folder: Path) -> None:
        """Write the annotations of pictures, whose values have names."""

    def read(self, folder: Path, names: Mapping[int, str]) -> Iterator[Item]:
        """Yield what `write` wrote, or what the tool made of it."""


def components(mask: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield each value of a mask but 0 with each of its components, which touch in no corner."""
    for value in np.unique(mask[mask > 0]).tolist():
        found, count = ndimage.label(mask == value, _TOUCHING)
        for number in range(1, count + 1):
            yield value, found == number


def lengths(flat: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of the runs of a flattened mask, the first of which are zeros."""
    runs = [(value, len(list(run))) for value, run in groupby(flat.tolist())]
    return [length for _, length in ([(False, 0)] if runs and runs[0][0] else []) + runs]


def from_lengths(counts: Sequence[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return what `lengths` made lengths of, row by row.

    Raises:
        DataError: They do not fill the shape.
    """
    if min(counts, default=0) < 0 or sum(counts) != shape[0] * shape[1]:
        raise DataError(
            f"Runs of {sum(counts)} pixels are no mask of {shape[0]} x {shape[1]}; export it anew."
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(shape)


class Coco:
    """COCO: ``annotations.json``, with runs down the columns, as pycocotools reads them."""

    _FILE: Final = "annotations.json"

    def write(self, items: Sequence[Item], names: Mapping[int, str], folder: Path) -> None:
        """Write the annotations of pictures."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, item in enumerate(items, start=1):
            height, width = item.mask.shape
            of = {"id": number, "file_name": item.file, "height": height, "width": width}
            images.append(of)
            for value, part in components(item.mask):
                annotation = self._annotation(part, value)
                annotation |= {"id": len(annotations) + 1, "image_id": number}
                annotations.append(annotation)
        categories = [{"id": value, "name": name} for value, name in names.items()]
        found = {"images": images, "annotations": annotations, "categories": categories}
        _write_json(found, folder / self._FILE)

    def read(self, folder: Path, names: Mapping[int, str]) -> Iterator[Item]:
        """Yield the masks; runs may be packed into letters, and polygons are not read."""
        found = read_json(folder / self._FILE)
        by_name = {name: value for value, name in names.items()}
        values = {each["id"]: _value(each["name"], by_name) for each in found["categories"]}
        for image in found["images"]:
            mask = np.zeros((image["height"], image["width"]), np.uint8)
            for each in found["annotations"]:
                if each["image_id"] == image["id"]:
                    mask[self._part(each["segmentation"], mask)] = values[each["category_id"]]
            yield Item(image["file_name"], mask)

    @staticmethod
    def _annotation(part: NDArray[np.bool_], value: int) -> dict[str, Any]:
        rows, columns = np.nonzero(part)
        top, left = int(rows.min()), int(columns.min())
        box = [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1]
        return {
            "category_id": value,
            "segmentation": {"counts": lengths(part.ravel(order="F")), "size": [*part.shape]},
            "area": int(part.sum()),
            "bbox": box,
            "iscrowd": 0,
        }

    @staticmethod
    def _part(segmentation: Any, mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
        if not isinstance(segmentation, dict):
            raise DataError(
                "A segmentation is of polygons, whose pixels each tool draws otherwise; export "
                "masks (RLE) from the tool."
            )
        counts = segmentation["counts"]
        counts = _unpacked(counts) if isinstance(counts, str) else counts
        return from_lengths(counts, (mask.shape[1], mask.shape[0])).T


def _unpacked(letters: str) -> list[int]:
    """Return the runs that COCO packs into letters of 5 bits each.

    The lowest bits come first, 32 says that there are more, and 16 in the last one is the sign.
    From the fourth run on the difference to the one before the last is packed.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in letters:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) >= 3 else 0))  # noqa: PLR2004 - above
            value = shift = 0
    return counts


class LabelStudio:
    """Label Studio: ``tasks.json`` to import, and ``labelling.xml`` for the project's settings."""

    _FILE: Final = "tasks.json"
    _SERVED: Final = f"/data/local-files/?d={IMAGES}/"

    def write(self, items: Sequence[Item], names: Mapping[int, str], folder: Path) -> None:
        """Write the masks as predictions, which a person takes over and corrects."""
        tasks = []
        for number, item in enumerate(items, start=1):
            parts = enumerate(components(item.mask), start=1)
            result = [self._region(f"{number}-{n}", part, names[v]) for n, (v, part) in parts]
            predicted = [{"model_version": "pladapt", "result": result}]
            data = {"image": f"{self._SERVED}{quote(item.file)}"}
            tasks.append({"id": number, "data": data, "predictions": predicted})
        _write_json(tasks, folder / self._FILE)
        view = ET.Element("View")
        ET.SubElement(view, "Image", name="image", value="$image", zoom="true")
        labels = ET.SubElement(view, "BrushLabels", name="mask", toName="image")
        for name in names.values():
            ET.SubElement(labels, "Label", value=name)
        _write_xml(view, folder / "labelling.xml")

    def read(self, folder: Path, names: Mapping[int, str]) -> Iterator[Item]:
        """Yield the masks of the last annotation of each task, or of its prediction."""
        by_name = {name: value for value, name in names.items()}
        for task in read_json(folder / self._FILE):
            made = [each for each in task.get("annotations", ()) if not each.get("was_cancelled")]
            said = (made or task.get("predictions") or [{"result": []}])[-1]["result"]
            regions = [each for each in said if each["type"] == "brushlabels"]
            file = unquote(task["data"]["image"]).rpartition("/")[2]
            yield Item(file, _painted(regions, by_name))

    @staticmethod
    def _region(id_: str, part: NDArray[np.bool_], name: str) -> dict[str, Any]:
        return {
            "id": id_,
            "type": "brushlabels",
            "from_name": "mask",
            "to_name": "image",
            "original_width": part.shape[1],
            "original_height": part.shape[0],
            "image_rotation": 0,
            "value": {"format": "rle", "rle": to_brush(part), "brushlabels": [name]},
        }


def _painted(regions: Sequence[Any], by_name: Mapping[str, int]) -> NDArray[np.uint8]:
    """Return the mask of a task's regions; of none it is empty, of no size."""
    if not regions:
        return np.zeros((0, 0), np.uint8)
    shape = regions[0]["original_height"], regions[0]["original_width"]
    mask = np.zeros(shape, np.uint8)
    for each in regions:
        part = from_brush(each["value"]["rle"], shape)
        mask[part] = _value(each["value"]["brushlabels"][0], by_name)
    return mask


class Cvat:
    """CVAT for images 1.1: ``annotations.xml``, with the runs of each box row by row."""

    _FILE: Final = "annotations.xml"

    def write(self, items: Sequence[Item], names: Mapping[int, str], folder: Path) -> None:
        """Write the annotations of pictures."""
        root = ET.Element("annotations")
        ET.SubElement(root, "version").text = "1.1"
        labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
        for name in names.values():
            ET.SubElement(ET.SubElement(labels, "label"), "name").text = name
        for number, item in enumerate(items):
            height, width = map(str, item.mask.shape)
            about = {"id": str(number), "name": item.file, "width": width, "height": height}
            image = ET.SubElement(root, "image", about)
            for value, part in components(item.mask):
                ET.SubElement(image, "mask", self._about(part, names[value]))
        _write_xml(root, folder / self._FILE)

    def read(self, folder: Path, names: Mapping[int, str]) -> Iterator[Item]:
        """Yield the masks of the images."""
        by_name = {name: value for value, name in names.items()}
        for image in _read_xml(folder / self._FILE).iter("image"):
            mask = np.zeros((int(image.attrib["height"]), int(image.attrib["width"])), np.uint8)
            for each in image.iter("mask"):
                said = each.attrib
                top, left, height, width = (
                    int(said[n]) for n in ("top", "left", "height", "width")
                )
                counts = [int(count) for count in said["rle"].split(",")]
                box = mask[top : top + height, left : left + width]
                box[from_lengths(counts, (height, width))] = _value(said["label"], by_name)
            yield Item(image.attrib["name"], mask)

    @staticmethod
    def _about(part: NDArray[np.bool_], name: str) -> dict[str, str]:
        rows, columns = np.nonzero(part)
        top, left = int(rows.min()), int(columns.min())
        box = part[top : rows.max() + 1, left : columns.max() + 1]
        counts = ", ".join(map(str, lengths(box.ravel())))
        place = {"left": left, "top": top, "width": box.shape[1], "height": box.shape[0]}
        said = {key: str(value) for key, value in place.items()}
        return {"label": name, "source": "manual", "occluded": "0", "rle": counts, **said}


def _value(name: str, by_name: Mapping[str, int]) -> int:
    if name not in by_name:
        raise DataError(
            f"There is a label {name!r}; the export has {sorted(by_name)}. Name it like these."
        )
    return by_name[name]


def _write_json(value: object, path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(to_json(value), encoding="utf-8")


def _write_xml(root: ET.Element, path: Path) -> None:
    ET.indent(root)
    with atomic_write(path) as temporary:
        ET.ElementTree(root).write(temporary, "utf-8", xml_declaration=True)


def _read_xml(path: Path) -> ET.Element:
    try:
        return ET.parse(path).getroot()  # noqa: S314 - expat expands no outer entities
    except ET.ParseError as error:
        raise DataError(f"{path} is no whole XML file ({error}); export it anew.") from error
