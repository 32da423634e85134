"""DICOM series for the tests: made on any grid, or read just as far as masks need them."""

from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from attnseg.images import Geometry, Image, Series
from attnseg.images.dicom.attributes import open_series
from attnseg.images.dicom.planes import frame_planes, grid_of

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def oblique(chance: np.random.Generator, shape: tuple[int, int, int]) -> Geometry:
    """A grid of any directions, as a scanner may place it: K along the normal of I and J."""
    directions, _ = np.linalg.qr(chance.normal(size=(3, 3)))
    directions[:, 2] = np.cross(directions[:, 0], directions[:, 1])
    affine = np.eye(4)
    affine[:3, :3] = directions * chance.uniform(0.3, 5, size=3)
    affine[:3, 3] = chance.uniform(-300, 300, size=3)
    return Geometry(shape, affine)


def make_series(
    folder: Path,
    geometry: Geometry,
    *,
    drop: tuple[str, ...] = (),
    values: np.ndarray | None = None,
    change: Callable[[Dataset, int], None] = lambda image, index: None,
) -> Image:
    """A CT series on a grid, its files in no order, and the scan it makes.

    Args:
        folder: where to write it.
        geometry: RAS+; K runs along the normal of I and J.
        drop: attributes to leave out.
        values: `[I, J, K]`, int16: the pixels; None leaves the images without.
        change: called with each image and its index along K before it is written.
    """
    write_series(folder, geometry, drop=drop, values=values, change=change)
    return stacked(folder)


def write_series(
    folder: Path,
    geometry: Geometry,
    *,
    drop: tuple[str, ...] = (),
    values: np.ndarray | None = None,
    change: Callable[[Dataset, int], None] = lambda image, index: None,
) -> None:
    """The files of `make_series`, whether or not they make a scan."""
    folder.mkdir(parents=True, exist_ok=True)
    lps = FLIP @ geometry.affine
    spacing = geometry.spacing_mm
    directions = lps[:3, :3] / np.array(spacing)
    uids = [generate_uid() for _ in range(3)]
    for index in range(geometry.shape[2]):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = uids
        image.Modality, image.PatientID, image.PatientName = "CT", "p1", "Müller^Ä"
        image.SpecificCharacterSet = "ISO_IR 100"
        image.SeriesNumber, image.InstanceNumber = 3, geometry.shape[2] - index
        image.Columns, image.Rows = geometry.shape[:2]
        image.ImagePositionPatient = [f"{x:.9g}" for x in lps[:3] @ [0, 0, index, 1]]
        image.ImageOrientationPatient = [f"{x:.9g}" for x in directions[:, :2].T.ravel()]
        image.PixelSpacing = [f"{spacing[1]:.9g}", f"{spacing[0]:.9g}"]
        image.SliceThickness = f"{spacing[2]:.9g}"
        if values is not None:
            image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
            image.BitsAllocated = image.BitsStored = 16
            image.HighBit, image.PixelRepresentation = 15, 1
            image.PixelData = values[..., index].T.astype("<i2").tobytes()
        change(image, index)
        for keyword in drop:
            if keyword in image:
                del image[keyword]
        image.save_as(folder / f"{(index * 7) % 100:02d}-{index}.dcm", enforce_file_format=True)


def repack(source: Path, target: Path, kind: str) -> None:
    """The images of a folder with their pixels packed by GDCM, as scanners and archives do.

    Args:
        source: folder of single-frame images.
        target: folder to write to.
        kind: GDCM's name of a transfer syntax.
    """
    target.mkdir()
    for path in source.iterdir():
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kind)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(target / path.name))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()


def stacked(folder: Path) -> Image:
    """The grid of a series whose files fill a folder, as a scan of zeros."""
    files = tuple(sorted(path.name for path in folder.iterdir()))
    series = Series(folder, "", files)
    headers = list(open_series(series))
    geometry = grid_of([plane for header in headers for plane in frame_planes(header)], [])
    series = Series(folder, str(headers[0].SeriesInstanceUID), files)
    return Image(np.zeros((1, *geometry.shape), dtype=np.float32), geometry, path=series)


def ellipsoids(shape: tuple[int, int, int], *, values: tuple[int, ...] = (1, 205)) -> np.ndarray:
    """Labels that touch no border and do not overlap, off the middle along each axis."""
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    labels = np.zeros(shape, dtype=np.uint16)
    for index, value in enumerate(values):
        centre = np.array([0.3, -0.2, 0.4]) * (1 - 2 * index)
        size = np.array([0.5, 0.6, 0.4]) / (1 + index)
        inside = (((place - centre[:, None, None, None]) / size[:, None, None, None]) ** 2).sum(0)
        labels[inside < 1] = value
    return labels


def positions(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """`[N, 3]` mm, RAS+, of the voxels of a mask, in an order of their own."""
    found = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    return found[np.lexsort(np.round(found, 2).T)]
