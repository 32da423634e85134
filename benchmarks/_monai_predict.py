"""A folder of scans by MONAI alone, written as its tutorials write it.

    python _monai_predict.py --network N.json --weights W.pt --scans FOLDER -o MASKS

Reading, spacing, normalising, sliding window, the way back and writing are MONAI's transforms;
`N.json` says which AttentionUnet.
"""

import argparse
import json
from pathlib import Path

import torch
from monai.data import DataLoader, Dataset, decollate_batch
from monai.inferers import sliding_window_inference
from monai.networks.nets import AttentionUnet
from monai.transforms import (
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    SaveImaged,
    Spacingd,
)


def main() -> None:
    """Predict every scan of the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--scans", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    told = json.loads(arguments.network.read_text(encoding="utf-8"))
    network = AttentionUnet(**told["arguments"])
    network.load_state_dict(torch.load(arguments.weights, weights_only=True))
    network.eval()

    before = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
            Spacingd("image", pixdim=told["spacing_mm"], mode="bilinear"),
            NormalizeIntensityd("image", nonzero=True),
        ]
    )
    after = Compose(
        [
            Invertd("logits", before, orig_keys="image", nearest_interp=False, to_tensor=True),
            AsDiscreted("logits", argmax=True),
            SaveImaged(
                "logits",
                output_dir=arguments.output,
                output_postfix="",
                resample=False,
                separate_folder=False,
                print_log=False,
            ),
        ]
    )
    scans = [{"image": str(path)} for path in sorted(arguments.scans.glob("*.nii.gz"))]
    with torch.no_grad():
        for batch in DataLoader(Dataset(scans, before), batch_size=1):
            batch["logits"] = sliding_window_inference(
                batch["image"], told["patch"], 4, network, overlap=0.5, mode="gaussian"
            )
            for case in decollate_batch(batch):
                after(case)


if __name__ == "__main__":
    main()
