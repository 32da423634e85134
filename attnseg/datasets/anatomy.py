"""A small abdomen as CT shows it, computed at any points of space: no grid, so no resampling.

Structures are *depths*: arrays over points that are positive inside and grow by about one per
millimetre. `np.maximum` unites two structures, `np.minimum` cuts one with another, adding a number
makes one thicker. They are painted one over the other with an edge as wide as a voxel, which gives
the partial volume of real scans.

Points are `[3, N]`: millimetres x (right), y (front), z (head) of a patient of average size whose
scan reaches to ±100, ±90, ±96. Intensities are Hounsfield units (HU).
"""

import numpy as np
from numpy.typing import ArrayLike

LABELS = {1: "liver", 2: "spleen", 3: "kidneys", 4: "pancreas"}
_LIVER, _SPLEEN, _KIDNEYS, _PANCREAS = LABELS
_FAT_HU = -98
_EVERYWHERE = np.inf  # as a radius: the structure runs through the whole scan


class Abdomen:
    """One random patient at given points.

    Args:
        points: `[3, N]` coordinates in mm.
        rng: decides all that differs from patient to patient.
        edge_mm: width over which one tissue passes into the next; about a voxel.

    After construction `hounsfield` (`[N]` float32, without noise) and `labels` (`[N]` uint8) hold
    the patient.

    Example:
        >>> points = np.zeros((3, 1), np.float32)
        >>> Abdomen(points, np.random.default_rng(0), edge_mm=3.0).labels.shape
        (1,)
    """

    def __init__(self, points: np.ndarray, rng: np.random.Generator, *, edge_mm: float) -> None:
        self.rng = rng
        self.edge_mm = edge_mm
        # The body is bent smoothly by half a centimetre or so: no organ stays a plain ellipsoid.
        wide = np.stack([smooth_noise(points, rng, wavelength_mm=120) for _ in range(3)])
        fine = np.stack([smooth_noise(points, rng, wavelength_mm=50) for _ in range(3)])
        self.points = points + 3 * wide + 1.2 * fine
        self.hounsfield = np.full(points.shape[1], -1000, np.float32)
        self.labels = np.zeros(points.shape[1], np.uint8)

        cavity = self._paint_body()
        self._paint_spine()
        belly = self._paint_chest(cavity)
        self._paint_bowel(belly)
        self._paint_stomach(belly)
        self._paint_liver(belly)
        self._paint_spleen(belly)
        self._paint_great_vessels()
        self._paint_kidneys()
        self._paint_pancreas()
        texture = smooth_noise(points, rng, wavelength_mm=14, num_waves=12)
        self.hounsfield += np.where(self.hounsfield > -200, 5 * texture, 0)

    def vary(self, *values: float, by: float) -> np.ndarray:
        """The values with normal deviations of standard deviation `by`, cut at twice that."""
        deviation = self.rng.normal(0, by, len(values))
        return np.array(values) + np.clip(deviation, -2 * by, 2 * by)

    def paint(self, depth: np.ndarray, hounsfield: float | np.ndarray, *, label: int = 0) -> None:
        """Lay a structure over what is there."""
        weight = np.clip(0.5 + depth / self.edge_mm, 0, 1)
        self.hounsfield += weight * (hounsfield - self.hounsfield)
        self.labels[depth > 0] = label

    def paint_in_fat(
        self, depth: np.ndarray, hounsfield: float, *, fat_mm: float, label: int = 0
    ) -> None:
        """Lay a structure over what is there, with a rim of fat around it."""
        self.paint(depth + fat_mm, _FAT_HU)
        self.paint(depth, hounsfield, label=label)

    def _paint_body(self) -> np.ndarray:
        """Skin, fat, muscle and ribs; returns the cavity inside them."""
        x, y, z = self.points
        width, front = self.vary(86, 66, by=2.5)
        n = (np.abs(x / width) ** 2.5 + np.abs(y / np.where(y > 0, front, 68)) ** 2.5) ** 0.4
        body = (1 - n) * np.float32(70)
        wall = body - self.rng.uniform(5, 12)
        cavity = wall - 7
        self.paint(body, 10)
        self.paint(body - 2, _FAT_HU)
        self.paint(wall, 55)
        self.paint(cavity, _FAT_HU)
        # Ribs slope down from back to front and end at the costal margin.
        along = (z + 0.6 * y + self.rng.uniform(0, 24)) % 24 - 12
        ribs = 4.5 - np.hypot(1.6 * (wall - 3.5), along)
        ribs = np.minimum(ribs, z - 0.55 * y + 5)
        self.paint(np.minimum(ribs, np.abs(x) - 16), 380)
        return cavity

    def _paint_spine(self) -> None:
        x, y, z = self.points
        for side in (-1, 1):
            erector = ellipsoid(self.points, (side * 20, -52, 0), (17, 11, _EVERYWHERE))
            self.paint(erector, 55)
        psoas = 8 - 0.05 * z - np.hypot(np.abs(x) - 23 + 0.06 * z, y + 30)
        self.paint(psoas, 58)
        along = (z + self.rng.uniform(0, 27)) % 27 - 13.5  # from the middle of each vertebra
        arch = ellipsoid(self.points, (0, -47, 0), (13, 11, _EVERYWHERE))
        arch = np.minimum(arch, 9 - np.abs(along))
        spinous = np.minimum(3.2 - np.abs(x), 7 - np.abs(along))
        spinous = np.minimum(spinous, 6 - np.abs(y + 60))
        transverse = np.minimum(4 - np.hypot(along, y + 46), 27 - np.abs(x))
        self.paint(np.maximum.reduce([arch, spinous, transverse]), 360)
        self.paint(ellipsoid(self.points, (0, -47, 0), (8, 7, _EVERYWHERE)), 28)
        vertebra = ellipsoid(self.points, (0, -28, 0), (17, 13, _EVERYWHERE))
        self.paint(vertebra, 400)
        self.paint(vertebra - 2.5, 210)
        self.paint(np.minimum(vertebra, np.abs(along) - 10), 95)

    def _paint_chest(self, cavity: np.ndarray) -> np.ndarray:
        """Lungs and the lower part of the heart; returns the cavity below the diaphragm."""
        x, y, z = self.points
        right, left, middle = self.vary(74, 67, 58, by=3)
        back = (y - 8) ** 2 / 62
        dome = np.maximum(right - (x - 42) ** 2 / 24, left - (x + 42) ** 2 / 24) - back
        dome = np.maximum(dome, middle - x**2 / 40 - back / 2)
        # Where the dome is steep, the height above it is more than the distance from it.
        lungs = np.minimum(cavity, 0.6 * (z - dome))
        mediastinum = 24 - np.hypot(x, y + 26)
        lungs = np.minimum(lungs, -mediastinum)
        self.paint(lungs + 2.5, 50)
        vessels = smooth_noise(self.points, self.rng, wavelength_mm=18)
        self.paint(lungs, -860 + 900 * np.clip(vessels - 1.4, 0, 0.4))
        heart = ellipsoid(self.points, self.vary(-14, 20, 100, by=3), (40, 32, 30))
        self.paint(np.minimum(heart, cavity), 125)
        return np.minimum(cavity, -lungs)

    def _paint_bowel(self, belly: np.ndarray) -> None:
        peritoneum = ellipsoid(self.points, (0, 24, -62), (74, 42, 66))
        loops = 9 * smooth_noise(self.points, self.rng, wavelength_mm=36, num_waves=10)
        loops = np.minimum.reduce([loops, belly - 4, peritoneum])
        self.paint(loops, 45)
        self.paint(loops - 3.5, 12)
        self.paint(np.minimum(loops - 5, self.points[1] - 22), -700)

    def _paint_stomach(self, belly: np.ndarray) -> None:
        shifted = self.points + self.vary(0, 0, 0, by=3).astype(np.float32)[:, None]
        fundus = ellipsoid(shifted, (-36, 8, 38), (25, 24, 24))
        body = ellipsoid(shifted, (-26, 24, 12), (19, 17, 32))
        antrum = ellipsoid(shifted, (-4, 32, -8), (26, 12, 12))
        stomach = np.minimum(smooth_union(smooth_union(fundus, body), antrum), belly - 3)
        self.paint_in_fat(stomach, 48, fat_mm=2)
        self.paint(stomach - 4, 15)
        # The patient lies on the back: gas gathers in front, with a level.
        self.paint(np.minimum(stomach - 4, self.points[1] - self.rng.uniform(18, 32)), -950)

    def _paint_liver(self, belly: np.ndarray) -> None:
        size = self.vary(1, by=0.06)
        right = ellipsoid(self.points, self.vary(44, 0, 26, by=3), size * (44, 52, 50))
        left = ellipsoid(self.points, self.vary(0, 30, 38, by=4), size * (46, 25, 23))
        hilum = ellipsoid(self.points, self.vary(13, 0, -4, by=3), (19, 19, 20))
        spine = ellipsoid(self.points, (-4, -36, 0), (31, 35, _EVERYWHERE))
        liver = smooth_union(left, right)
        liver = np.minimum.reduce([liver, -hilum, -spine, -self._kidney_bed(1), belly - 2])
        hounsfield = self.vary(106, by=5)[0]
        self.paint_in_fat(liver, hounsfield, fat_mm=1.5, label=_LIVER)
        # Two smooth fields are both zero along winding lines: hepatic vessels.
        fields = [smooth_noise(self.points, self.rng, wavelength_mm=70) for _ in range(2)]
        vessels = np.minimum(4 - 11 * np.hypot(*fields), liver - 4)
        weight = np.clip(0.5 + vessels / self.edge_mm, 0, 1)
        self.hounsfield += weight * 35 * (liver > 0)
        gallbladder = ellipsoid(self.points, self.vary(34, 30, -18, by=3), (9, 10, 17))
        self.paint(gallbladder + 1.5, 45)
        self.paint(gallbladder, 8)

    def _paint_spleen(self, belly: np.ndarray) -> None:
        center, size = self.vary(-60, -20, 26, by=3), self.vary(1, by=0.07)
        spleen = ellipsoid(self.points, center, size * self.vary(24, 34, 36, by=1.5))
        hollow = ellipsoid(self.points, center + self.vary(35, 9, -4, by=2), (21, 27, 34))
        spleen = np.minimum.reduce([spleen, -hollow, -self._kidney_bed(-1), belly - 2])
        self.paint_in_fat(spleen, self.vary(124, by=5)[0], fat_mm=2, label=_SPLEEN)

    def _paint_great_vessels(self) -> None:
        aorta = ellipsoid(self.points, self.vary(-9, -7, 0, by=1.5), (8, 8, _EVERYWHERE))
        cava = ellipsoid(self.points, self.vary(14, -8, 0, by=1.5), (10, 7, _EVERYWHERE))
        self.paint_in_fat(aorta, 155, fat_mm=1.5)
        self.paint_in_fat(cava, 135, fat_mm=1.5)

    def _kidney_bed(self, side: int) -> np.ndarray:
        """The fat around a kidney, which the liver and the spleen lie before and above."""
        return ellipsoid(self.points, (side * 50, -34, -26 if side > 0 else -18), (37, 28, 43))

    def _paint_kidneys(self) -> None:
        hounsfield = self.vary(168, by=6)[0]
        for side, height in ((1, -26), (-1, -18)):
            center, radii = self.vary(side * 47, -24, height, by=2.5), self.vary(19, 17, 35, by=1.5)
            # The upper poles lean towards the spine.
            upright = self.points.copy()
            upright[0] += side * 0.22 * (self.points[2] - center[2])
            kidney = ellipsoid(upright, center, radii)
            sinus = ellipsoid(upright, center + np.array([-side * 15, 4, 0]), (14, 8, 12))
            self.paint(kidney + 4, _FAT_HU)
            kidney = np.minimum(kidney, -sinus)
            self.paint(kidney, hounsfield, label=_KIDNEYS)
            self.paint(kidney - 6, hounsfield - 40, label=_KIDNEYS)

    def _paint_pancreas(self) -> None:
        """A bent tube: head on the right, neck before the vessels, tail up towards the spleen."""
        anchors = np.array(
            [(25, 4, -38), (27, 10, -20), (10, 24, -4), (-12, 8, -2), (-30, 8, 8), (-43, -8, 20)]
        )
        anchors = anchors + self.vary(*[0] * anchors.size, by=2.5).reshape(anchors.shape)
        along = np.linspace(0, 1, 40)
        curve = np.polynomial.polynomial.polyfit(np.linspace(0, 1, len(anchors)), anchors, 4)
        line = np.polynomial.polynomial.polyval(along, curve).T
        radii = np.interp(along, (0, 0.3, 0.5, 0.75, 1), (9, 11, 7.5, 8.5, 7))
        splenic_vein = tube(self.points, line[16:] - (0, 9, 0), np.full(24, 4))
        self.paint_in_fat(splenic_vein, 140, fat_mm=1.5)
        pancreas = tube(self.points, line, radii)
        self.paint_in_fat(pancreas, self.vary(88, by=3)[0], fat_mm=2.5, label=_PANCREAS)


def smooth_noise(
    points: np.ndarray, rng: np.random.Generator, *, wavelength_mm: float, num_waves: int = 6
) -> np.ndarray:
    """`[N]` smooth random field of about unit variance: the sum of a few plane waves."""
    directions = rng.normal(size=(num_waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    frequency = 2 * np.pi / (wavelength_mm * rng.uniform(0.75, 1.35, (num_waves, 1)))
    phase = rng.uniform(0, 2 * np.pi, (num_waves, 1)).astype(np.float32)
    angles = (directions * frequency).astype(np.float32) @ points + phase
    return np.cos(angles).sum(axis=0) * np.float32(np.sqrt(2 / num_waves))


def ellipsoid(points: np.ndarray, center: ArrayLike, radii: ArrayLike) -> np.ndarray:
    """`[N]` depth inside an ellipsoid, exact to first order at its surface."""
    center = np.asarray(center, np.float32)[:, None]
    radii = np.asarray(radii, np.float32)[:, None]
    q = (points - center) / radii
    n = np.sqrt((q**2).sum(axis=0)) + 1e-3
    return (1 - n) * n / (np.sqrt(((q / radii) ** 2).sum(axis=0)) + 1e-5)


def tube(points: np.ndarray, line: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """`[N]` depth inside a tube around the points `line` `[M, 3]` with radii `[M]` in mm."""
    depth = np.full(points.shape[1], -np.inf, np.float32)
    for center, radius in zip(line.astype(np.float32), radii.astype(np.float32), strict=True):
        distance = np.sqrt(((points - center[:, None]) ** 2).sum(axis=0))
        np.maximum(depth, radius - distance, out=depth)
    return depth


def smooth_union(a: np.ndarray, b: np.ndarray, *, blend_mm: float = 4.0) -> np.ndarray:
    """Both structures, with the crease between them filled."""
    return blend_mm * np.logaddexp(a / blend_mm, b / blend_mm)
