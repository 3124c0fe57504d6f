"""Geometry that image tasks share."""

import numpy as np
import pytest
from PIL import Image

from ssl4rl_core.images import cells, centre_crop, grid, is_flat


def numbered(width: int, height: int) -> Image.Image:
    """A picture whose red is a pixel's column and whose green is its row."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.dstack([columns, rows, 0 * rows]).astype(np.uint8))


def test_centre_crop_takes_as_much_from_both_sides():
    cropped = np.asarray(centre_crop(numbered(21, 10), 11, 4))
    assert cropped.shape == (4, 11, 3)
    assert cropped[0, 0].tolist() == [5, 3, 0]
    assert cropped[-1, -1].tolist() == [15, 6, 0]


def test_centre_crop_of_everything_copies_nothing():
    picture = numbered(5, 4)
    assert centre_crop(picture, 5, 4) is picture


@pytest.mark.parametrize("size", [(6, 4), (5, 5), (0, 4)])
def test_centre_crop_names_sizes_that_do_not_fit(size: tuple[int, int]):
    with pytest.raises(ValueError, match="out of 5 x 4 pixels"):
        centre_crop(numbered(5, 4), *size)


@pytest.mark.parametrize(("width", "height"), [(12, 9), (14, 11), (13, 10)])
def test_grid_cells_are_equal_fill_the_picture_and_stand_in_reading_order(width: int, height: int):
    picture, boxes = grid(numbered(width, height), 3, 4)
    assert picture.size == (12, 9)
    covered = np.zeros((9, 12), int)
    for number, (left, top, right, bottom) in enumerate(boxes, 1):
        assert (right - left, bottom - top) == (3, 3)
        covered[top:bottom, left:right] += number
    assert covered[::3, ::3].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert np.array_equal(covered, np.repeat(np.repeat(covered[::3, ::3], 3, 0), 3, 1))


@pytest.mark.parametrize(("width", "height"), [(12, 9), (14, 11), (13, 10)])
def test_cells_are_those_of_the_grid_where_they_stand_in_the_picture(width: int, height: int):
    whole = numbered(width, height)
    cropped, boxes = grid(whole, 3, 4)
    shown = [whole.crop(cell).tobytes() for cell in cells(whole, 3, 4)]
    assert shown == [cropped.crop(box).tobytes() for box in boxes]


@pytest.mark.parametrize("cut", [cells, grid])
def test_more_cells_than_pixels_are_refused(cut):
    with pytest.raises(ValueError, match="out of 5 x 4 pixels"):
        cut(numbered(5, 4), 2, 6)


def test_only_one_colour_is_flat():
    picture = Image.new("RGB", (8, 8), (1, 2, 3))
    assert is_flat(picture)
    picture.putpixel((7, 7), (1, 2, 4))
    assert not is_flat(picture)


@pytest.mark.parametrize("place", [(2, 3), (4, 5), (5, 7), (3, 3)])
def test_a_box_is_flat_by_its_own_pixels_alone(place: tuple[int, int]):
    picture = Image.new("RGB", (8, 8), (9, 9, 9))
    picture.paste((1, 2, 3), (2, 3, 6, 8))
    assert is_flat(picture, (2, 3, 6, 8)) and not is_flat(picture)
    picture.putpixel(place, (1, 2, 4))
    assert not is_flat(picture, (2, 3, 6, 8))
