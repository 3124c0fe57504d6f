"""Pages for people: one HTML file each, with nothing beside it, in which text from models and data is inert."""

import base64
import functools
import io
import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl4rl_core import __version__
from ssl4rl_core.atomic import write_named

if TYPE_CHECKING:
    import jinja2
    from PIL.Image import Image

# Pictures below this are shown enlarged, pixel by pixel, so that there is something to see.
_SMALLEST_SHOWN = 112
_LOSSLESS_PIXELS = 160 * 160


@dataclass(frozen=True)
class Picture:
    """A picture inside a page: its own size in pixels, and how many times larger it is shown."""

    uri: str
    width: int
    height: int
    zoom: int

    @classmethod
    def of(cls, image: "Image") -> "Picture":
        """Small pictures as PNG, exact to the pixel; larger ones as JPEG, since a page is to stay light."""
        lossless = image.width * image.height <= _LOSSLESS_PIXELS
        data = io.BytesIO()
        image.convert("RGB").save(data, **({"format": "PNG"} if lossless else {"format": "JPEG", "quality": 90}))
        kind = "png" if lossless else "jpeg"
        uri = f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"
        return cls(uri, image.width, image.height, max(1, _SMALLEST_SHOWN // max(image.size)))


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill `template` and put the page at `path`, whole or not at all; folders on the way are made.

    Raises:
        Ssl4rlError: it cannot be written there.
    """
    html = _environment().get_template(template).render(css=_css(), version=__version__, **values)
    # Lone surrogates, as in file names of unknown encoding, have no place in UTF-8.
    write_named(path, html.encode("utf-8", "replace"))


def percent(share: float, *, exact: bool = False) -> str:
    """A share of one as people write it: "92 %", "0.4 %" where whole numbers would hide it; `exact` for "8.33 %"."""
    value = round(100 * share, 6)
    if exact:
        return f"{value:.3g} %"
    if 0.05 <= value < 1 or 99 < value < 99.95:
        return f"{value:.1f} %"
    return f"{math.floor(value + 0.5)} %"  # 92.5 is 93 wherever it stands: round() goes to the even one


@functools.cache
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ssl4rl_core", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["unbroken"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")
    return environment


def _css() -> str:
    return resources.files("ssl4rl_core.pages").joinpath("page.css").read_text(encoding="utf-8")
