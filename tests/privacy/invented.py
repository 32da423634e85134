"""Scans that name an invented patient wherever a format has room for it."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import PIL.Image
import torch
from PIL.PngImagePlugin import PngInfo
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from attnseg.images import Geometry
from attnseg.models import AttentionUNet, save_model
from attnseg.spec import ModelSpec

# What scans and tables hold of the invented patient, beside the names of files.
PATIENT = {
    "patient's name": ("Zzyzx", "Quillon", "Sørenhjelm"),
    "patient's number": ("7731904",),
    "birth date": ("19030214", "1903-02-14"),
    "study date or time": ("20170613", "101112.131415", "2017-06-13", "2017:06:13"),
    "accession number": ("ACC55102",),
    "institution": ("Morwenna",),
    "physician or operator": ("Trelawny", "Penhallow"),
    "comment or private tag": ("Kestrelmoor", "Gorsedd", "Tolgarrick"),
    "series description": ("Lamorna",),
    "UID of DICOM": ("1.2.826.0.1.3680043.9.998877",),
    "place of the picture": ("Carnbrea",),
}
# Of the names of files and folders of scans.
SCAN_NAME = "Quernstone"
# Of the name of the data set's own folder, of one above it, and of the user.
DATASET_NAME, MACHINE, USER = "Brimfrost", "Vexholm", "tregeagle"

TEXT = (
    "Zzyzx^Quillon 7731904 1903-02-14 2017-06-13 ACC55102 Morwenna Trelawny Kestrelmoor Sørenhjelm"
)
SHAPE = (18, 16, 10)
GRID = Geometry(SHAPE, np.diag([-1.0, -1.0, 1.5, 1.0]))
CASES = 3


def case_name(number: int) -> str:
    return f"{SCAN_NAME}-{number:02d}"


def voxels(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A scan and its mask: a bright box on noise."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[4:12, 3 + number : 11 + number, 2:8] = 1
    noise = np.random.default_rng(number).normal(10, 5, SHAPE)
    return (labels * 50 + noise).astype(np.int16), labels


def write_nifti(path: Path, array: np.ndarray) -> None:
    """With every text that the header has room for, and extensions of three kinds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, GRID.affine)
    image.set_sform(GRID.affine, 1)
    image.set_qform(GRID.affine, 1)
    header = image.header
    header["descrip"] = b"Zzyzx^Quillon 2017-06-13 Kestrelmoor"
    header["aux_file"] = b"Quillon_19030214.txt"
    header["db_name"] = b"Zzyzx 7731904"
    header["intent_name"] = b"Morwenna ACC551"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", TEXT.encode()))
    image.header.extensions.append(
        nib.nifti1.Nifti1Extension(4, f"<AFNI><NAME>{TEXT}</NAME></AFNI>".encode())
    )
    # Two: a data set of DICOM, which is not parsed here.
    image.header.extensions.append(nib.nifti1.Nifti1Extension(2, TEXT.encode()))
    nib.save(image, path)


def write_nrrd(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = (
        "NRRD0004\n# Zzyzx^Quillon Kestrelmoor\n"
        f"content: Zzyzx^Quillon 7731904\ntype: short\ndimension: 3\n"
        f"space: left-posterior-superior\nsizes: {SHAPE[0]} {SHAPE[1]} {SHAPE[2]}\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1.5)\nkinds: domain domain domain\n"
        "endian: little\nencoding: raw\nspace origin: (0,0,0)\n"
        f"PatientName:=Zzyzx^Quillon\nStudyDate:=20170613\nNote:={TEXT}\n\n"
    )
    path.write_bytes(head.encode() + array.astype("<i2").tobytes(order="F"))


def write_metaimage(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = (
        "ObjectType = Image\nNDims = 3\nComment = Zzyzx^Quillon Kestrelmoor\n"
        "Name = Zzyzx\nCreationDate = 2017-06-13\n"
        "BinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nCenterOfRotation = 0 0 0\n"
        "AnatomicalOrientation = RAI\nElementSpacing = 1 1 1.5\n"
        f"DimSize = {SHAPE[0]} {SHAPE[1]} {SHAPE[2]}\nPatientName = Zzyzx^Quillon\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(head.encode() + array.astype("<i2").tobytes(order="F"))


def write_mgz(path: Path, array: np.ndarray) -> None:
    """FreeSurfer keeps the command lines that made a volume behind its voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.MGHImage(array.astype(np.int32), GRID.affine)
    plain = path.with_suffix(".mgh")
    nib.save(image, plain)
    text = f"mri_convert /data/{TEXT} out.mgz\0".encode()
    tag = (3).to_bytes(4, "big") + len(text).to_bytes(8, "big") + text
    path.write_bytes(gzip.compress(plain.read_bytes() + tag))
    plain.unlink()


def write_dicom(folder: Path, array: np.ndarray, *, number: int = 0) -> None:
    """A CT series; `number` tells several in one folder apart."""
    uid = "1.2.826.0.1.3680043.9.998877"

    def fill(image: Dataset, index: int) -> None:
        image.SpecificCharacterSet = "ISO_IR 192"
        image.PatientName, image.PatientID = "Zzyzx^Quillon^Sørenhjelm", "7731904"
        image.PatientBirthDate, image.PatientSex, image.PatientAge = "19030214", "F", "114Y"
        image.PatientAddress = "Carnbrea"
        image.AccessionNumber, image.InstitutionName = "ACC55102", "Morwenna Infirmary"
        image.InstitutionAddress, image.StationName = "Morwenna 1", "Morwenna-CT2"
        image.ReferringPhysicianName, image.OperatorsName = "Trelawny^A", "Penhallow^B"
        image.PerformingPhysicianName = "Penhallow^C"
        for what in ("Study", "Series", "Acquisition", "Content"):
            setattr(image, f"{what}Date", "20170613")
            setattr(image, f"{what}Time", "101112.131415")
        image.ImageComments = image.PatientComments = "Kestrelmoor"
        image.StudyDescription, image.ProtocolName = "Tolgarrick", "Tolgarrick"
        image.SeriesDescription, image.StudyID = "Lamorna", "7731904"
        image.StudyInstanceUID, image.SeriesInstanceUID = f"{uid}.1", f"{uid}.2.{number}"
        image.FrameOfReferenceUID, image.SOPInstanceUID = f"{uid}.3", f"{uid}.4.{number}.{index}"
        image.DeviceSerialNumber = "Morwenna77"
        block = image.private_block(0x0029, "Gorsedd", create=True)
        block.add_new(0x10, "LO", "Gorsedd Zzyzx^Quillon")

    folder.mkdir(parents=True, exist_ok=True)
    for index in range(array.shape[2]):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.Modality = CTImageStorage, "CT"
        image.SeriesNumber, image.InstanceNumber = 3 + number, index + 1
        image.Columns, image.Rows = array.shape[:2]
        image.ImagePositionPatient, image.SliceThickness = [0, 0, 1.5 * index], 1.5
        image.ImageOrientationPatient, image.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.PixelData = array[..., index].T.astype("<i2").tobytes()
        fill(image, index)
        image.save_as(folder / f"{index}.dcm", enforce_file_format=True)


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """PNG with texts, XMP and EXIF, JPEG with EXIF and GPS, TIFF with tags."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PIL.Image.fromarray(pixels)
    exif = PIL.Image.Exif()
    exif[0x010E], exif[0x013B] = "Zzyzx^Quillon", "Penhallow"
    exif[0x0132], exif[0x8298] = "2017:06:13 10:11:12", "Morwenna"
    exif.get_ifd(0x8825)[29] = "2017:06:13"
    exif.get_ifd(0x8825)[27] = b"Carnbrea"
    if path.suffix == ".png":
        text = PngInfo()
        text.add_text("Description", TEXT)
        text.add_text("Comment", "Kestrelmoor", zip=True)
        text.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{TEXT}</x:xmpmeta>", zip=True)
        image.save(path, pnginfo=text, exif=exif)
    elif path.suffix == ".tif":
        image.save(path, tiffinfo={270: TEXT.replace("ø", "o"), 315: "Penhallow"})
    else:
        image.save(path, exif=exif, comment=b"Kestrelmoor", quality=95)


def _write_pictures(root: Path) -> None:
    for number, suffix in enumerate((".png", ".tif", ".jpg")):
        scan, mask = (np.kron(each[:, :, 5], np.ones((2, 2))) for each in voxels(number))
        write_picture(
            root / "images" / f"{case_name(number)}{suffix}", scan.clip(0, 255).astype(np.uint8)
        )
        write_picture(root / "labels" / f"{case_name(number)}.png", mask.astype(np.uint8))


def write_all(root: Path) -> None:
    """Data sets and scans under `root`.

    `Brimfrost/`: a paired data set of NIfTI; `bids/` and `pictures/`: others; `dicom/`, `mixed/`,
    `two/` (series in one folder) and `broken/`: scans.
    """
    data = root / DATASET_NAME
    for number in range(CASES):
        scan, mask = voxels(number)
        write_nifti(data / "images" / f"{case_name(number)}.nii.gz", scan)
        write_nifti(data / "labels" / f"{case_name(number)}.nii.gz", mask)
    scan, mask = voxels(1)
    write_dicom(root / "dicom" / f"{SCAN_NAME}-series", scan)
    two = root / "two" / f"{SCAN_NAME}-two"
    write_dicom(two / "a", scan)
    write_dicom(two / "b", scan[..., :5], number=1)
    mixed = root / "mixed"
    write_nrrd(mixed / f"{SCAN_NAME}-n.nrrd", scan)
    write_metaimage(mixed / f"{SCAN_NAME}-m.mha", scan)
    write_mgz(mixed / f"{SCAN_NAME}-g.mgz", scan)
    _write_pictures(root / "pictures")
    _write_broken(root / "broken" / f"{SCAN_NAME}-broken.nii.gz", scan)
    _write_bids(root / "bids")


def _write_broken(path: Path, array: np.ndarray) -> None:
    write_nifti(path, array)
    path.write_bytes(path.read_bytes()[:2000])


def _write_bids(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text(
        json.dumps({"Name": "scans", "BIDSVersion": "1.8.0", "Authors": ["Trelawny"]})
    )
    rows = ["participant_id\tname\tbirth"]
    for number in range(CASES):
        subject = f"sub-{SCAN_NAME}{number}"
        scan, mask = voxels(number)
        stem = root / subject / "anat" / f"{subject}_T1w"
        write_nifti(stem.with_name(stem.name + ".nii.gz"), scan)
        stem.with_name(stem.name + ".json").write_text(
            json.dumps({"PatientName": "Zzyzx^Quillon", "AcquisitionTime": "101112.131415"})
        )
        label = root / "derivatives" / "manual" / subject / "anat" / f"{subject}_dseg.nii.gz"
        write_nifti(label, mask)
        rows.append(f"{subject}\tZzyzx^Quillon\t1903-02-14")
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    (root / "derivatives" / "manual" / "dataset_description.json").write_text(
        json.dumps({"Name": "masks", "BIDSVersion": "1.8.0", "DatasetType": "derivative"})
    )


def write_model(path: Path) -> None:
    """A network of random weights for one channel and one label."""
    torch.manual_seed(0)
    network = AttentionUNet(3, 1, 2, channels=(4, 6), strides=(2,), gate_finest=True)
    spec = ModelSpec.model_validate(
        {
            "architecture": network.architecture,
            "preprocessing": {"spacing_mm": (1, 1, 1.5), "normalization": [{"scheme": "zscore"}]},
            "channel_names": ["image"],
            "labels": [{"value": 0, "name": "background"}, {"value": 1, "name": "organ"}],
            "patch": (16, 16, 8),
        }
    )
    save_model(path, network, spec)


def all_marks() -> Iterator[tuple[str, str]]:
    """(kind, text) of everything that is looked for, the machine's own names left out."""
    for kind, texts in PATIENT.items():
        for text in texts:
            yield kind, text
    yield "name of a scan", SCAN_NAME
    yield "name of the data set", DATASET_NAME
    yield "path of the machine", MACHINE
    yield "user", USER
