"""What is measured of a frame to tell how the picture is; nobody's face can be seen in it.

It is a grid of mean brightness whose cells are wider than half of the least face: a face that could be
searched is under 2 cells wide (design.md asks for under 8 px of live pictures). From it come sums over blocks
of many cells. The buffers lie in the arena and are zeroed after each frame; sums of blocks and shares are all
that numpy ever keeps elsewhere. Green stands for brightness: it is 72 % of luma (ITU-R BT.709).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.ports import Region
from appliance.records.frames import PictureSize, Pixels

MOST_CELLS = 64
"""Along each side of the grid."""
SAMPLES_PER_CELL = 5
"""Along each side of a cell: 25 pixels make a cell's mean, whatever the resolution."""
BLOCK_CELLS, COARSE_BLOCK_CELLS = 6, 4
MOST_BLOCKS = (MOST_CELLS // COARSE_BLOCK_CELLS) ** 2
LINE_PAIRS, LINE_GAP, BLOCK_COLUMNS = 4, 2, 128
"""So many pairs of picture lines of a block, so far apart, and at most so many pixels show its detail."""
SHARP_LAG = 2
"""Detail is how brightness bends over so many pixels: 5 % of the least face, whose blur matters."""

TINY = 1e-6
"""Keeps a division by a flat block finite."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridLayout:
    """How a picture is cut: cells of equal size, and square blocks of `block_cells` cells each way."""

    rows: int
    columns: int
    cell_height_px: int
    cell_width_px: int
    block_cells: int
    pixel_step: int


def layout_of(size: PictureSize, least_face_width_px: int) -> GridLayout | None:
    """Return the finest grid in which the least face is under 2 cells wide, None for too small a picture."""
    cell_px = max(least_face_width_px // 2 + 1, -(-max(size.width_px, size.height_px) // MOST_CELLS))
    columns, rows = size.width_px // cell_px, size.height_px // cell_px
    block_cells = BLOCK_CELLS if min(columns, rows) >= 2 * BLOCK_CELLS else COARSE_BLOCK_CELLS
    columns, rows = columns // block_cells * block_cells, rows // block_cells * block_cells
    if not columns or not rows:
        return None
    return GridLayout(
        rows=rows,
        columns=columns,
        cell_height_px=size.height_px // rows,
        cell_width_px=size.width_px // columns,
        block_cells=block_cells,
        pixel_step=max(1, least_face_width_px // 40),
    )


class PictureBench:
    """The buffers for one frame's statistics, shared by all cameras. Thread: gpu.

    `with bench.region:` zeroes them on the way out.
    """

    def __init__(self, region: Region) -> None:
        self.region = region
        n_cells = MOST_CELLS**2
        self._samples = take_floats(region, n_cells * SAMPLES_PER_CELL**2)
        self._grid = take_floats(region, n_cells)
        self._slopes, self._products = take_floats(region, 2 * n_cells), take_floats(region, 2 * n_cells)
        n_pixels = (MOST_CELLS // BLOCK_CELLS) ** 2 * 2 * LINE_PAIRS * BLOCK_COLUMNS
        self._lines, self._steps = take_floats(region, n_pixels), take_floats(region, n_pixels)
        self._sums = take_floats(region, MOST_BLOCKS * 4)
        self._flags = region.take((n_cells,), np.bool_).view(np.bool_)

    def bind(self, layout: GridLayout) -> FrameStatistics:
        """Return the buffers in the shapes of a layout."""
        buffers = (
            self._samples,
            self._grid,
            self._slopes,
            self._products,
            self._lines,
            self._steps,
            self._sums,
        )
        return FrameStatistics(layout, self._flags, *buffers)


class FrameStatistics:
    """What is measured of one frame; valid inside the bench's scope. Thread: gpu.

    `grid` is (rows, columns) and `slopes` (2, rows, columns) float32 in levels 0..255; `texture`, `luma` and
    `detail` are (block rows, block columns): mean squared slope of the grid, mean brightness, and the mean
    squared bend of brightness between near pixels, without the noise.
    """

    def __init__(self, layout: GridLayout, flags: npt.NDArray[np.bool_], *buffers: Floats) -> None:
        samples, grid, slopes, products, lines, steps, sums = buffers
        rows, columns, cells = layout.rows, layout.columns, layout.block_cells
        self._layout = layout
        down = min(SAMPLES_PER_CELL, layout.cell_height_px)
        across = min(SAMPLES_PER_CELL, layout.cell_width_px)
        self.shape = (rows // cells, columns // cells)
        self._samples = shaped(samples, (down, across, rows, columns))
        self.grid = shaped(grid, (rows, columns))
        self._flags = flags[: rows * columns].reshape(rows, columns)
        self.slopes = shaped(slopes, (2, rows, columns))
        self._products = shaped(products, (2, rows, columns))
        n_pixels = min(BLOCK_COLUMNS, cells * layout.cell_width_px // layout.pixel_step)
        self._lines = shaped(lines, (self.shape[0], LINE_PAIRS, 2, self.shape[1], n_pixels))
        self._steps = shaped(steps, (self.shape[0], LINE_PAIRS, 2, self.shape[1], n_pixels - SHARP_LAG))
        self.texture, self.luma, self.detail, self._agreement = shaped(sums, (4, *self.shape))

    def measure(self, pixels: Pixels) -> None:
        """Fill in the statistics of a picture of the layout's size."""
        layout, cells = self._layout, self._layout.block_cells
        rows, columns = layout.rows, layout.columns
        height_px, width_px = rows * layout.cell_height_px, columns * layout.cell_width_px
        top, left = (pixels.shape[0] - height_px) // 2, (pixels.shape[1] - width_px) // 2
        green = pixels[top : top + height_px, left : left + width_px, 1]
        self._fill_grid(green)
        np.subtract(self.grid[:, 1:], self.grid[:, :-1], out=self.slopes[0, :, :-1])
        np.subtract(self.grid[1:], self.grid[:-1], out=self.slopes[1, :-1])
        self.sum_blocks(self.slopes, self.slopes, self.texture)
        blocks = self.grid.reshape(self.shape[0], cells, self.shape[1], cells)
        np.add.reduce(blocks, axis=(1, 3), out=self.luma)
        np.divide(self.luma, cells**2, out=self.luma)
        self._measure_detail(green)

    def share_between(self, lowest: float, highest: float) -> float:
        """Return the share of cells whose mean is at least `lowest` and under `highest`."""
        np.less(self.grid, highest, out=self._flags)
        n_below = np.count_nonzero(self._flags)
        np.less(self.grid, lowest, out=self._flags)
        return float((n_below - np.count_nonzero(self._flags)) / self.grid.size)

    def agreement_with(self, slopes: Floats, texture: Floats) -> Floats:
        """Return each block's normalised correlation with a reference's slopes, -1..1."""
        self.sum_blocks(self.slopes, slopes, self._agreement)
        agreement: Floats = self._agreement
        np.divide(agreement, np.sqrt(self.texture * texture) + TINY, out=agreement)
        return agreement

    def blend_into(self, slopes: Floats, weights: Floats) -> None:
        """Move a reference's slopes towards the frame's, each block by its weight, 0..1."""
        np.subtract(self.slopes, slopes, out=self._products)
        blocks = self._in_blocks(self._products)
        np.multiply(blocks, weights[None, :, None, :, None], out=blocks)
        np.add(slopes, self._products, out=slopes)

    def sum_blocks(self, first: Floats, second: Floats, out: Floats) -> None:
        """Write each block's mean product per cell of two (2, rows, columns) arrays into `out`."""
        np.multiply(first, second, out=self._products)
        np.add.reduce(self._in_blocks(self._products), axis=(0, 2, 4), out=out)
        np.divide(out, self._layout.block_cells**2, out=out)

    def _in_blocks(self, array: Floats) -> Floats:
        cells = self._layout.block_cells
        blocks: Floats = array.reshape(2, self.shape[0], cells, self.shape[1], cells)
        return blocks

    def _fill_grid(self, green: npt.NDArray[np.uint8]) -> None:
        layout = self._layout
        down, across = self._samples.shape[:2]
        down_px, across_px = layout.cell_height_px // down, layout.cell_width_px // across
        cut = green.reshape(layout.rows, layout.cell_height_px, layout.columns, layout.cell_width_px)
        picked = cut[:, ::down_px, :, ::across_px][:, :down, :, :across]
        np.copyto(self._samples, picked.transpose(1, 3, 0, 2))  # long inner loops, for speed
        np.add.reduce(self._samples, axis=(0, 1), out=self.grid)
        np.divide(self.grid, down * across, out=self.grid)

    def _measure_detail(self, green: npt.NDArray[np.uint8]) -> None:
        layout = self._layout
        height_px = layout.block_cells * layout.cell_height_px
        width_px = layout.block_cells * layout.cell_width_px
        cut = green.reshape(self.shape[0], height_px, self.shape[1], width_px)
        pitch = height_px // LINE_PAIRS
        pairs = cut[:, : LINE_PAIRS * pitch].reshape(
            self.shape[0], LINE_PAIRS, pitch, self.shape[1], width_px
        )
        lines, steps = self._lines, self._steps
        np.copyto(
            lines, pairs[:, :, : 2 * LINE_GAP : LINE_GAP, :, :: layout.pixel_step][..., : lines.shape[4]]
        )
        np.subtract(lines[..., SHARP_LAG:], lines[..., :-SHARP_LAG], out=steps)
        bends = lines[..., : -2 * SHARP_LAG]
        np.subtract(steps[..., SHARP_LAG:], steps[..., :-SHARP_LAG], out=bends)
        # Edges go on from line to line, noise does not: in the mean of the product it cancels out.
        products = steps[:, :, 0, :, :-SHARP_LAG]
        np.multiply(bends[:, :, 0], bends[:, :, 1], out=products)
        np.add.reduce(products, axis=(1, 3), out=self.detail)
        np.divide(self.detail, LINE_PAIRS * products.shape[3], out=self.detail)


def take_floats(region: Region, length: int) -> Floats:
    """Return a flat float32 array of the region."""
    return region.take((length,), np.float32).view(np.float32)


def shaped(buffer: Floats, shape: tuple[int, ...]) -> Floats:
    """Return the beginning of a flat buffer in this shape."""
    return buffer[: int(np.prod(shape))].reshape(shape)
