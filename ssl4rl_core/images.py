"""Geometry of pictures that several image tasks need. Nothing here changes the picture it is given."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom lie outside, as in Pillow."""


def centre_crop(image: "Image", width: int, height: int) -> "Image":
    """The `width` x `height` pixels at the centre; the picture itself where that is all of it.

    Raises:
        ValueError: the picture is smaller, or a side is less than 1.
    """
    if not (1 <= width <= image.width and 1 <= height <= image.height):
        raise ValueError(f"cannot cut {width} x {height} out of {image.width} x {image.height} pixels")
    if image.size == (width, height):
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def cells(image: "Image", rows: int, columns: int) -> list[Box]:
    """`rows` x `columns` cells of one size, in reading order, that fill the picture around its centre.

    Fewer than `columns` pixels of its width and `rows` of its height are left out.

    Raises:
        ValueError: the picture has fewer pixels than cells along a side.
    """
    width, height = image.width // columns, image.height // rows
    if not (width and height):
        raise ValueError(f"cannot cut {columns} x {rows} cells out of {image.width} x {image.height} pixels")
    left, top = (image.width - width * columns) // 2, (image.height - height * rows) // 2
    corners = [(left + column * width, top + row * height) for row in range(rows) for column in range(columns)]
    return [(left, top, left + width, top + height) for left, top in corners]


def grid(image: "Image", rows: int, columns: int) -> tuple["Image", list[Box]]:
    """The picture cropped so that `rows` x `columns` cells of one size fill it, and the cells in reading order.

    Raises:
        ValueError: the picture has fewer pixels than cells along a side.
    """
    cropped = centre_crop(image, image.width // columns * columns, image.height // rows * rows)
    return cropped, cells(cropped, rows, columns)


def is_flat(image: "Image", box: Box | None = None) -> bool:
    """Whether all pixels, or those in the box, are of one colour, so that nothing can be asked about them."""
    if box is None:
        return image.getcolors(maxcolors=1) is not None
    left, top, right, bottom = box
    # Two pixels nearly always differ; to look at all takes a copy of them.
    ends = image.getpixel((left, top)), image.getpixel(((left + right) // 2, (top + bottom) // 2))
    return ends[0] == ends[1] and is_flat(image.crop(box))
