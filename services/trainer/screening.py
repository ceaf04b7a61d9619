"""First stage of the search for overlapping fields: which of all pairs deserve a close look.

Every pair is compared by phase correlation (Kuglin & Hines 1975, Proc. IEEE Conf. Cybernetics and
Society 163) at a quarter of the size. The shift at its peak is known up to a wrap around the edge,
so each of its four readings is correlated over the area that the two fields would then share.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from services.trainer.waiting import with_bar
from shared.imaging import INPUT_SIZE, Pixels
from shared.imaging.mask import MASK_SIZE

Grey = NDArray[np.float32]

SIDE = INPUT_SIZE // 2
"""Height and width of the grey images that are compared: fine enough to tell cells apart."""

VISIBLE = np.ones((SIDE, SIDE), dtype=np.float32)
"""1 where a field is compared, 0 where a scale bar may be burnt in; shape (SIDE, SIDE)."""
VISIBLE[-MASK_SIZE // 2 :, -MASK_SIZE // 2 :] = 0

SMALLEST_SHARE = 0.08
"""Least part of a field that two must share; over less area unlike cells fit by chance."""

_COARSE = SIDE // 2
_BACKGROUND_SIGMA = 5.0  # in pixels of SIDE; about a cell, so that shading is taken away
_BAND = 0.2  # cycles a pixel; above it JPEG blocks and noise differ between shots of one area
_PEAK = 0.15  # of 1 for the same image; about 3 in 100 pairs of unlike fields are above it
_STRENGTH = 0.19  # about 1 in 4,000 pairs of unlike fields is above it; overlaps start at 0.38
_CHUNK = 128


def grey_details(images: Iterable[Pixels]) -> Grey:
    """Reduce fields to what is compared: cells without shading, stain and scale bar.

    Args:
        images: Fields of shape (224, 224, 3).

    Returns:
        Grey deviations from the surroundings, shape (n, SIDE, SIDE), 0 in the scale-bar corner.
    """
    weight = ndimage.gaussian_filter(VISIBLE, _BACKGROUND_SIGMA)
    details = [_details(image, weight) for image in images]
    return np.stack(details) if details else np.empty((0, SIDE, SIDE), dtype=np.float32)


def _details(image: Pixels, weight: Grey) -> Grey:
    grey = _halve(image.mean(axis=-1, dtype=np.float32)) * VISIBLE
    # Divided by the blurred mask: nothing of the bar is smeared over its neighbours.
    background = ndimage.gaussian_filter(grey, _BACKGROUND_SIGMA) / np.maximum(weight, 1e-3)
    details: Grey = (grey - background) * VISIBLE
    return details


def _halve(images: Grey) -> Grey:
    side = images.shape[-1] // 2
    halved: Grey = images.reshape(*images.shape[:-2], side, 2, side, 2).mean(axis=(-3, -1))
    return halved


def find_candidates(details: Grey) -> list[tuple[int, int, int, int]]:
    """Compare all pairs; the time grows with the square of the number of images.

    Args:
        details: What `grey_details` returns.

    Returns:
        Pairs that may overlap: first, second, and the shift (down, right) in pixels of `details`
        that takes a point of the first to its place in the second.
    """
    if len(details) == 0:
        return []
    coarse = _halve(details)
    spectra = _whitened_spectra(coarse)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        compared = pool.map(lambda first: _peaks(spectra, first), range(len(spectra)))
        rows = list(with_bar(compared, "Comparing all pairs", total=len(spectra)))
        peaks = np.concatenate(rows)
        chunks = [peaks[start : start + _CHUNK] for start in range(0, len(peaks), _CHUNK)]
        read = pool.map(lambda chunk: _read_peaks(coarse, chunk), chunks)
        found = list(with_bar(read, "Reading shifts", total=len(chunks)))
    return [(int(a), int(b), 2 * int(y), 2 * int(x)) for part in found for a, b, y, x in part]


def _whitened_spectra(coarse: Grey) -> NDArray[np.complex64]:
    """Spectra of which only the phase is left, scaled so that an image fits itself with 1."""
    down = np.fft.fftfreq(_COARSE)[:, None]
    right = np.fft.rfftfreq(_COARSE)[None]
    band = np.exp(-(down**2 + right**2) / (2 * _BAND**2))
    band[0, 0] = 0
    mirrored = np.full(right.shape, 2)  # a real image's spectrum holds these columns twice
    mirrored[:, [0, -1]] = 1
    band /= np.sqrt((band**2 * mirrored).sum()) / _COARSE
    spectra = fft.rfft2(coarse)
    white: NDArray[np.complex64] = (spectra / (np.abs(spectra) + 1e-6) * band).astype(np.complex64)
    return white


def _peaks(spectra: NDArray[np.complex64], first: int) -> NDArray[np.int64]:
    """Rows (first, second, wrapped shift down, right) of later images that may fit the first."""
    found = [np.empty((0, 4), dtype=np.int64)]
    conjugate = np.conj(spectra[first])
    for start in range(first + 1, len(spectra), _CHUNK):
        fit = fft.irfft2(spectra[start : start + _CHUNK] * conjugate, (_COARSE, _COARSE))
        flat = fit.reshape(len(fit), -1)
        place = flat.argmax(axis=1)
        high = np.flatnonzero(flat[np.arange(len(flat)), place] > _PEAK)
        shifts = np.divmod(place[high], _COARSE)
        found.append(np.stack([np.full(len(high), first), start + high, *shifts], axis=1))
    return np.concatenate(found)


def _read_peaks(coarse: Grey, peaks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The reading of each wrapped shift under which the fields fit best, where they fit at all."""
    strengths = _strengths(coarse, peaks)
    best = strengths.argmax(axis=1)
    peaks = peaks - _COARSE * np.stack([0 * best, 0 * best, best // 2, best % 2], axis=1)
    fits: NDArray[np.int64] = peaks[strengths.max(axis=1) > _STRENGTH]
    return fits


def _strengths(coarse: Grey, peaks: NDArray[np.int64]) -> Grey:
    """atanh(r) * sqrt(shared part) of the four readings of each shift, shape (n, 4).

    Chance gives atanh(r) a spread of 1 over the root of the shared area (Fisher 1921, Metron 1:3),
    so the product has the same spread for every shift.
    """
    axis = np.arange(_COARSE)
    shift_down, shift_right = peaks[:, 2, None], peaks[:, 3, None]
    down = ((axis + shift_down) % _COARSE)[:, :, None]
    right = ((axis + shift_right) % _COARSE)[:, None, :]
    visible = VISIBLE[::2, ::2]
    seen = visible[down, right] * visible
    a = coarse[peaks[:, 0]] * seen
    b = coarse[peaks[:, 1, None, None], down, right] * seen
    # The wrapped second field meets the first in four rectangles, one a reading.
    above, left = axis < _COARSE - shift_down, axis < _COARSE - shift_right
    rows = np.stack([above, ~above], axis=1).astype(np.float32)
    columns = np.stack([left, ~left], axis=2).astype(np.float32)
    area, of_a, of_b, of_aa, of_bb, of_ab = (
        rows @ values @ columns for values in (seen, a, b, a * a, b * b, a * b)
    )
    n = np.maximum(area, 1)
    variances = (of_aa - of_a**2 / n) * (of_bb - of_b**2 / n)
    r = (of_ab - of_a * of_b / n) / np.sqrt(np.maximum(variances, 1e-3))
    share = area / _COARSE**2
    r = np.where(share >= SMALLEST_SHARE, np.clip(r, 0, 0.999), 0)
    strengths: Grey = (np.arctanh(r) * np.sqrt(share)).reshape(len(peaks), 4)
    return strengths
