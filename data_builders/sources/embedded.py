"""`embedded:NAME`: pictures that ordinary packages ship, so that anything can be tried without a download."""

import hashlib
import importlib.util
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data_builders.sources.decoding import decode, fit
from data_builders.sources.extras import missing
from data_builders.sources.flat_index import FlatIndex
from data_builders.sources.graph_source import GraphSource
from data_builders.sources.networkx_graphs import embedded_graphs
from data_builders.sources.options import SourceOptions
from ssl4rl_core.configs import suggestion
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.samples import ImageItem, QuestionItem
from ssl4rl_core.sources import Entry, Source

if TYPE_CHECKING:
    from PIL.Image import Image

_DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


class _Photo(NamedTuple):
    id: str
    package: str
    path: str
    shows: str
    group: str = ""


# Photographs of things and scenes with an up and a down, looked at one by one: not the textures (brick, grass, gravel),
# slides, scans, drawings and the sky that lie beside them.
_PHOTOS = (
    _Photo("astronaut", "skimage", "data/astronaut.png", "an astronaut"),
    _Photo("camera", "skimage", "data/camera.png", "a man with a camera"),
    _Photo("chelsea", "skimage", "data/chelsea.png", "a cat"),
    _Photo("china", "sklearn", "datasets/images/china.jpg", "a temple"),
    _Photo("coffee", "skimage", "data/coffee.png", "a cup of coffee"),
    _Photo("coins", "skimage", "data/coins.png", "old coins"),
    _Photo("flower", "sklearn", "datasets/images/flower.jpg", "a flower"),
    _Photo("motorcycle-left", "skimage", "data/motorcycle_left.png", "a motorcycle", group="motorcycle"),
    _Photo("motorcycle-right", "skimage", "data/motorcycle_right.png", "a motorcycle", group="motorcycle"),
    _Photo("rocket", "skimage", "data/rocket.jpg", "a rocket"),
)


class Embedded(Source):
    """Pictures that scikit-image and scikit-learn ship.

    `embedded:photos` is 10 photographs, `embedded:faces` 100 faces of 25 x 25 pixels (Labeled Faces in the Wild; give
    image tasks `min_side=25` or less), `embedded:digits` 1,797 handwritten digits of 8 x 8 pixels (UCI). Photos and
    digits also come as questions with four options, for downstream tasks: what is shown, which digit is it?
    `embedded:graphs` is the social networks that networkx ships. Nothing is fetched from a network.

    Options: `license=CC0-1.0` is recorded in what is built.
    """

    scheme = "embedded"
    example = "embedded:photos"

    def __init__(self, name: str, license: str) -> None:
        self.name, self.license = name, license

    @classmethod
    def open(cls, where: str, **options: str) -> "Embedded | GraphSource":
        chosen = SourceOptions.read(cls.scheme, options)
        if where == "graphs":
            return embedded_graphs(chosen.license)
        collections: dict[str, type[Embedded]] = {"photos": _Photos, "faces": _Faces, "digits": _Digits}
        if where not in collections:
            raise UsageError(f"no collection {cls.scheme}:{where}{suggestion(where, [*collections, 'graphs'])}")
        collection = collections[where]
        return collection(f"{cls.scheme}:{where}", chosen.license or collection.license)

    @property
    @abstractmethod
    def _entries(self) -> Sequence[Entry]: ...

    @abstractmethod
    def _picture(self, position: int, max_side: int | None) -> "Image": ...

    @abstractmethod
    def _content(self, position: int) -> bytes: ...

    def index(self, kind: str) -> FlatIndex:
        self.check_kind(kind)
        return FlatIndex(len(self._entries), self._entries.__getitem__)

    def load(self, kind: str, entry: Entry, *, max_side: int | None = None) -> ImageItem:
        image = self._picture(entry.position, max_side)
        if kind == "question":
            return QuestionItem(entry.id, entry.group, entry.position, image, *self._question(entry.position))
        return ImageItem(entry.id, entry.group, entry.position, image)

    def _question(self, position: int) -> "_Asked":
        """What is asked of a picture, where it comes as a question."""
        raise UsageError(f"{self.name} has no questions")

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for entry in self._entries:
            digest.update(f"{entry.id}\0".encode() + hashlib.sha256(self._content(entry.position)).digest())
        return digest.hexdigest()


class _Asked(NamedTuple):
    question: str
    options: tuple[str, ...]
    answer: int
    """The place of the right option."""


def _asked(question: str, right: str, all: Sequence[str], position: int, count: int = 4) -> _Asked:
    """The question of a picture, the same each time: the right option among others, at a place drawn evenly."""
    rng = np.random.default_rng(position)
    others = rng.permutation([option for option in dict.fromkeys(all) if option != right])[: count - 1].tolist()
    place = int(rng.integers(count))
    return _Asked(question, (*others[:place], right, *others[place:]), place)


class _Photos(Embedded):
    kinds = ("image", "question")

    def __init__(self, name: str, license: str) -> None:
        super().__init__(name, license)
        self._files = [_packaged(name, photo.package, photo.path) for photo in _PHOTOS]

    @cached_property
    def _entries(self) -> Sequence[Entry]:
        return [Entry(position, photo.id, photo.group or photo.id) for position, photo in enumerate(_PHOTOS)]

    def _picture(self, position: int, max_side: int | None) -> "Image":
        return decode(self._content(position), max_side=max_side)

    def _question(self, position: int) -> _Asked:
        shown = [photo.shows for photo in _PHOTOS]
        return _asked("What does the picture show?", shown[position], shown, position)

    def _content(self, position: int) -> bytes:
        return self._files[position].read_bytes()


class _Pixels(Embedded):
    """Pictures that lie in one array."""

    noun: str
    package: str
    path: str

    def __init__(self, name: str, license: str) -> None:
        super().__init__(name, license)
        self._file = _packaged(name, self.package, self.path)

    @abstractmethod
    def _read(self) -> np.ndarray:
        """Grey levels between 0 and 1, (pictures, height, width)."""

    @cached_property
    def _pixels(self) -> np.ndarray:
        pixels = np.rint(self._read() * 255).astype(np.uint8)
        pixels.setflags(write=False)
        return pixels

    @cached_property
    def _entries(self) -> Sequence[Entry]:
        first: dict[bytes, str] = {}
        ids = [f"{self.noun}-{position:04d}" for position in range(len(self._pixels))]
        return [Entry(at, id, first.setdefault(self._content(at), id)) for at, id in enumerate(ids)]

    def _picture(self, position: int, max_side: int | None) -> "Image":
        from PIL import Image

        return fit(Image.fromarray(self._pixels[position]).convert("RGB"), max_side)

    def _content(self, position: int) -> bytes:
        return self._pixels[position].tobytes()


class _Faces(_Pixels):
    noun, package, path = "face", "skimage", "data/lfw_subset.npy"

    def _read(self) -> np.ndarray:
        # The second hundred are patches of background.
        return np.load(self._file, allow_pickle=False)[:100]


class _Digits(_Pixels):
    kinds = ("image", "question")
    noun, package, path = "digit", "sklearn", "datasets/data/digits.csv.gz"
    license = "CC-BY-4.0"

    @cached_property
    def _table(self) -> np.ndarray:
        # The last column is the label.
        return np.loadtxt(self._file, delimiter=",")

    def _read(self) -> np.ndarray:
        return self._table[:, :64].reshape(-1, 8, 8) / 16

    def _question(self, position: int) -> _Asked:
        return _asked("Which digit is it?", str(int(self._table[position, 64])), [*map(str, range(10))], position)


def _packaged(name: str, package: str, path: str) -> Path:
    """A file of an installed package, found without importing the package.

    Raises:
        MissingExtra: the package is not installed.
        Ssl4rlError: its version does not ship the file.
    """
    spec = importlib.util.find_spec(package)
    distribution = _DISTRIBUTIONS[package]
    if spec is None or not spec.submodule_search_locations:
        raise missing(name, ImportError(name=distribution))
    file = Path(spec.submodule_search_locations[0]) / path
    if not file.is_file():
        raise Ssl4rlError(f"{name}: this {distribution} does not ship {path}: pip install -U {distribution}")
    return file
