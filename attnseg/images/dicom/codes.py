"""What labels are called, in codes that other software understands (SNOMED CT, PS3.16 CID 7150 ff).

Names are matched whole, in lower case, words apart, sides and number set aside: "Kidney_Left" and
"left kidneys" are both Kidney, Left. A name that is not known keeps itself as the meaning of a code
of attnseg's own scheme.
"""

import colorsys
import hashlib
import re
from dataclasses import dataclass

from pydicom.sr.codedict import Code, codes

from attnseg.sides import LEFT, RIGHT, words_of

# Coding Scheme Designator of names that the table lacks; "99" marks a private one (PS3.16, 8.2).
PRIVATE_SCHEME = "99ATTNSEG"

# Name in lower case → pydicom's keyword of the SNOMED CT concept.
_ANATOMY = {
    "adrenal gland": "AdrenalGland",
    "amygdala": "Amygdala",
    "aorta": "Aorta",
    "bladder": "Bladder",
    "bone": "Bone",
    "brain": "Brain",
    "brain stem": "BrainStem",
    "breast": "Breast",
    "caudate": "CaudateNucleus",
    "caudate nucleus": "CaudateNucleus",
    "cerebellum": "Cerebellum",
    "cerebrospinal fluid": "CerebrospinalFluid",
    "colon": "Colon",
    "duodenum": "Duodenum",
    "esophagus": "Esophagus",
    "eye": "Eye",
    "femur": "Femur",
    "gallbladder": "Gallbladder",
    "heart": "Heart",
    "hippocampus": "Hippocampus",
    "inferior vena cava": "InferiorVenaCava",
    "kidney": "Kidney",
    "larynx": "Larynx",
    "left atrium": "LeftAtrium",
    "left ventricle": "LeftVentricle",
    "lens": "Lens",
    "liver": "Liver",
    "lung": "Lung",
    "mandible": "Mandible",
    "optic chiasm": "OpticChiasm",
    "optic nerve": "OpticNerve",
    "pancreas": "Pancreas",
    "parotid": "ParotidGland",
    "parotid gland": "ParotidGland",
    "pituitary": "Pituitary",
    "portal vein": "PortalVein",
    "prostate": "Prostate",
    "putamen": "Putamen",
    "rectum": "Rectum",
    "rib": "Rib",
    "right atrium": "RightAtrium",
    "right ventricle": "RightVentricle",
    "small intestine": "SmallIntestine",
    "spinal cord": "SpinalCord",
    "spleen": "Spleen",
    "sternum": "Sternum",
    "stomach": "Stomach",
    "submandibular gland": "SubmandibularGland",
    "thalamus": "Thalamus",
    "thyroid": "Thyroid",
    "thyroid gland": "Thyroid",
    "trachea": "Trachea",
    "uterus": "Uterus",
    "vertebra": "Vertebra",
}
_ALTERED = {
    "cyst": "Cyst",
    "edema": "Edema",
    "hemorrhage": "Hemorrhage",
    "lesion": "Lesion",
    "necrosis": "Necrosis",
    "neoplasm": "Neoplasm",
    "nodule": "Nodule",
    "thrombus": "Thrombus",
    "tumor": "Neoplasm",
}
# Other spellings and what radiotherapy plans write.
_SPELLINGS = {
    "adrenal": "adrenal gland",
    "brainstem": "brain stem",
    "cord": "spinal cord",
    "csf": "cerebrospinal fluid",
    "gall bladder": "gallbladder",
    "gtv": "tumor",
    "haemorrhage": "hemorrhage",
    "lv": "left ventricle",
    "oedema": "edema",
    "oesophagus": "esophagus",
    "rv": "right ventricle",
    "spinalcord": "spinal cord",
    "submandibular": "submandibular gland",
    "tumour": "tumor",
    "urinary bladder": "bladder",
    "vertebrae": "vertebra",
}
_SIDES = {LEFT: "Left", RIGHT: "Right"}


@dataclass(frozen=True)
class Concept:
    """What a segment is, as coded triplets.

    Args:
        category: Segmented Property Category, CID 7150.
        kind: Segmented Property Type.
        side: left or right, as its modifier; None where the name has none or the kind says it.
    """

    category: Code
    kind: Code
    side: Code | None = None


def concept(name: str) -> Concept:
    """The coded concept of a label's name.

    Args:
        name: as the user has it: "left kidney", "Parotid_L", "tumour".
    """
    words = words_of(name)
    sides = {_SIDES[word] for word in words if word in _SIDES}
    side = getattr(codes.SCT, sides.pop()) if len(sides) == 1 else None
    # The left ventricle is a concept of its own; any left kidney is a kidney.
    for spelled, aside in ((words, None), ([w for w in words if w not in _SIDES], side)):
        for text in (" ".join(spelled), " ".join(spelled).removesuffix("s")):
            text = _SPELLINGS.get(text, text)
            if text in _ANATOMY:
                return Concept(
                    codes.SCT.AnatomicalStructure, getattr(codes.SCT, _ANATOMY[text]), aside
                )
            if text in _ALTERED:
                kind = getattr(codes.SCT, _ALTERED[text])
                return Concept(codes.SCT.MorphologicallyAbnormalStructure, kind, aside)
    value = hashlib.sha256(name.encode()).hexdigest()[:16]
    return Concept(codes.SCT.Tissue, Code(value, PRIVATE_SCHEME, long_string(name)), side)


def long_string(name: str) -> str:
    """A name as DICOM's value representation LO holds it: 64 characters, no backslash."""
    plain = re.sub(r"[\\\x00-\x1f\x7f]+", " ", name).strip()
    return plain[:64].strip() or "unnamed"


def colour(index: int) -> tuple[int, int, int]:
    """Display colour of the segment at a place in the list, red, green, blue from 0 to 255.

    Hues a golden ratio apart: neighbours in the list differ, however many there are.
    """
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.65, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
