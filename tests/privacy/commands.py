# ruff: noqa: E501
"""Every command that writes, on the invented scans: which files each wrote, and what it said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_SMALL = (
    "--set=model.gate_finest=true --set=data.num_folds=3 --set=training.epochs=1 "
    "--set=training.steps_per_epoch=2 --set=training.batch_size=1 "
    "--set=training.validation_every_epochs=1 --set=training.validation_cases=1 "
    "--set=model.channels=[4,8]"
)
_SMALL_3D = f"{_SMALL} --set=model.patch=[16,16,8]"

# An exit code, where it is not 0; then a command line, @ standing for the folder of everything.
# Absolute paths are the hardest case: a job script gives them.
PREDICTING = """
3 predict @Brimfrost/images @broken @two -m @model.safetensors -o @out/masks --statistics --backend torch
report @out/masks --images @Brimfrost/images
1 check @broken @two --json @out/scans.json --html @out/scans.html
"""

EVERYTHING = f"""
check @Brimfrost --json @out/check.json --html @out/check.html
check @Brimfrost --fix @out/fixed
1 check @dicom/Quernstone-series @mixed @broken @two --json @out/scans.json --html @out/scans.html
plan @Brimfrost -o @out/plan.json --no-probe {_SMALL_3D}
train @Brimfrost -o @out/run --fold all {_SMALL_3D}
train --resume --epochs 2 -o @out/run
train @pictures -o @out/run2d {_SMALL} --set=model.patch=[32,32,1]
report @out/run --sheet @out/sheet.png --curves @out/curves.svg
model show @out/run/fold0/model.safetensors
3 predict @Brimfrost/images @dicom/Quernstone-series @mixed @broken @two -m @out/run/fold0/model.safetensors -o @out/masks-nifti --statistics --backend torch
predict @dicom/Quernstone-series @mixed -m @out/run/fold0/model.safetensors -o @out/masks-nrrd --format nrrd --backend torch
predict @dicom/Quernstone-series @mixed -m @out/run/fold0/model.safetensors -o @out/masks-mha --format mha --backend torch
predict @Brimfrost/images -m @out/run -o @out/masks --save-probabilities --save-attention --statistics --backend torch
predict @Brimfrost/images -m @out/run/fold0/model.safetensors -o @out/part --shard 1/2 --backend torch
predict @Brimfrost/images -m @out/run/fold0/model.safetensors -o @out/other --backend torch
predict @Brimfrost/images -m @out/run/fold0/model.safetensors -o @out/per-label --per-label --backend torch
predict @bids/sub-*/anat/*_T1w.nii.gz -m @out/run/fold0/model.safetensors -o @out/derivative --bids --backend openvino
predict @dicom/Quernstone-series -m @out/run/fold0/model.safetensors -o @out/seg --format dicom-seg --backend torch
predict @dicom/Quernstone-series -m @out/run/fold0/model.safetensors -o @out/rt --format rtstruct --backend torch
predict @pictures/images -m @out/run2d/fold0/model.safetensors -o @out/pictures --save-attention --backend torch
report @out/run2d --curves @out/curves.png
report @out/pictures --images @pictures/images
evaluate @out/masks @Brimfrost/labels --json @out/scores.json --csv @out/scores.csv
compare @out/masks @out/other --ref @Brimfrost/labels --images @Brimfrost/images --json @out/compare.json --csv @out/compare.csv --html @out/compare.html
attention @Brimfrost/images -m @out/run/fold0/model.safetensors -o @out/attention --ref @Brimfrost/labels --replaced 1
report @out/masks --ref @Brimfrost/labels --images @Brimfrost/images --sheet @out/sheet.svg
report @out/masks-nifti --images @mixed
view @dicom/Quernstone-series -o @out/view.html --no-open
view @Brimfrost/images/Quernstone-00.nii.gz @out/masks/Quernstone-00.nii.gz --attention @out/masks/Quernstone-00_attention.nii.gz --no-open
convert @Brimfrost @out/as-paired --layout paired
convert @Brimfrost @out/as-msd --layout msd
convert @Brimfrost @out/as-nnunet --layout nnunet
convert @Brimfrost @out/as-bids --layout bids
convert @Brimfrost @out/as-nrrd --format nrrd
convert @bids @out/from-bids
convert @pictures @out/pictures-nnunet --layout nnunet
convert @dicom/Quernstone-series @out/scan.nii.gz
convert @dicom/Quernstone-series @out/scan.nrrd
convert @dicom/Quernstone-series @out/scan.mha
convert @mixed @out/scans --format nifti
convert @mixed @out/scans-mha --format mha
convert @out/seg/Quernstone-series.seg.dcm @out/drawn.nii.gz --like @dicom/Quernstone-series
convert @out/rt/Quernstone-series.rtstruct.dcm @out/drawn-rt.nrrd --like @dicom/Quernstone-series
"""


@dataclass(frozen=True)
class Done:
    """A command that was run.

    Args:
        line: as it was typed.
        files: that it wrote anew.
        said: on stdout and stderr.
    """

    line: str
    files: tuple[Path, ...]
    said: str

    @property
    def command(self) -> str:
        return self.line.split()[0]


def run_all(lines: str, root: Path, attnseg: Callable) -> Sequence[Done]:
    """Run command lines one after the other; each must end as it says.

    Args:
        lines: as `EVERYTHING`.
        root: what `invented.write_all` wrote.
        attnseg: runs one command line; returns code, out and err.
    """
    known, done = set(_files(root)), []
    for line in lines.strip().splitlines():
        words = line.replace("@", f"{root}/").split()
        code = int(words.pop(0)) if words[0].isdigit() else 0
        result = attnseg(*words)
        assert result.code == code, (line, result.code, result.out, result.err)
        found = set(_files(root)) - known
        known |= found
        done.append(Done(" ".join(words), tuple(sorted(found)), result.out + result.err))
    return done


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]
