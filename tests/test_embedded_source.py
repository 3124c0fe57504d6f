"""`embedded:` as a user meets it: what is there, and what it costs to open."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_builders.sources.embedded import Embedded
from ssl4rl_core import Entry, ImageItem, MissingExtra, Source, UsageError


def loaded(source: Source, found: Entry, **options) -> Image.Image:
    item = source.load("image", found, **options)
    assert isinstance(item, ImageItem)
    return item.image


def ids(source: Source) -> list[str]:
    return [entry.id for entry in source.index("image")]


def entry(source: Source, id: str) -> Entry:
    return next(each for each in source.index("image") if each.id == id)


def test_embedded_photos_are_photographs():
    pytest.importorskip("skimage")
    source = Embedded.open("photos")
    assert len(ids(source)) == 10
    assert all(loaded(source, each, max_side=128).mode == "RGB" for each in source.index("image"))
    assert max(loaded(source, entry(source, "china"), max_side=128).size) == 128
    assert entry(source, "motorcycle-left").group == entry(source, "motorcycle-right").group
    assert len({each.group for each in source.index("image")}) == 9
    astronaut = np.asarray(loaded(source, entry(source, "astronaut")))
    assert astronaut.shape == (512, 512, 3)
    assert len(source.fingerprint()) == 64


@pytest.mark.parametrize(("name", "count", "side"), [("faces", 100, 25), ("digits", 1797, 8)])
def test_embedded_arrays(name, count, side):
    pytest.importorskip("sklearn" if name == "digits" else "skimage")
    source = Embedded.open(name)
    assert len(set(ids(source))) == count
    image = loaded(source, source.index("image")[0])
    assert (image.mode, image.size) == ("RGB", (side, side))
    pixels = np.asarray(image)
    assert pixels.max() > 200 and pixels.min() < 60
    assert loaded(source, source.index("image")[0], max_side=5).size == (5, 5)
    assert source.fingerprint() == Embedded.open(name).fingerprint() != Embedded.open("photos").fingerprint()
    assert pickle.loads(pickle.dumps(source)).fingerprint() == source.fingerprint()


def test_embedded_without_its_packages_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"embedded:photos needs .*scikit-image.*ssl4rl-core\[embedded\]"):
        Embedded.open("photos")
    with pytest.raises(UsageError, match="did you mean 'faces'"):
        Embedded.open("face")


def test_opening_embedded_sources_imports_none_of_the_packages_behind_them():
    code = (
        "import sys; from data_builders.sources import ssl4rl_sources\n"
        "from data_builders.sources.embedded import Embedded\n"
        "assert len(ssl4rl_sources()) >= 3\n"
        "for name in ('photos', 'faces', 'digits'): Embedded.open(name).fingerprint()\n"
        "heavy = {'skimage', 'sklearn', 'pooch', 'scipy', 'webdataset', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    subprocess.run([sys.executable, "-c", code], check=True)
