"""What nnU-Net's own Python does for the benchmarks; imports nothing of attnseg.

    PYTHON _nnunet.py versions
    PYTHON _nnunet.py checkpoint --model FOLDER
    PYTHON _nnunet.py export --variant default|torch --logits F.npy --target 192 384 384 -o L.npy

nnU-Net reads its three folders from environment variables when it is imported; who calls sets them.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import _measure as measure
import numpy as np

# nnU-Net's default, and what its planners with `torchres` in their names write.
RESAMPLING: dict[str, tuple[str, dict[str, Any]]] = {
    "default": (
        "resample_data_or_seg_to_shape",
        {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
    ),
    "torch": (
        "resample_torch_fornnunet",
        {"is_seg": False, "force_separate_z": False, "memefficient_seg_resampling": False},
    ),
}


def export(logits: np.ndarray, target: tuple[int, ...], variant: str) -> np.ndarray:
    """Logits `[K, *S]` → labels `[*target]` by the function that nnU-Net's export calls.

    Timing belongs around this call: what it needs of plans is made in microseconds.
    """
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape as convert,
    )
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    function, options = RESAMPLING[variant]
    shape = logits.shape[1:]
    spacing = [m / n for n, m in zip(shape, target, strict=True)]
    plans = PlansManager(
        {
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "label_manager": "LabelManager",
            "configurations": {
                "3d_fullres": {
                    "spacing": spacing,
                    "architecture": {},  # looked for, not used
                    "resampling_fn_probabilities": function,
                    "resampling_fn_probabilities_kwargs": options,
                }
            },
        }
    )
    names = {"background": 0} | {f"class {k}": k for k in range(1, len(logits))}
    dataset = {"labels": names, "channel_names": {"0": "CT"}}
    properties = {
        "spacing": [1.0, 1.0, 1.0],
        "shape_before_cropping": target,
        "shape_after_cropping_and_before_resampling": target,
        "bbox_used_for_cropping": [[0, n] for n in target],
    }
    labels: np.ndarray = convert(
        logits,
        plans,
        plans.get_configuration("3d_fullres"),
        plans.get_label_manager(dataset),
        properties,
    )
    return labels


def write_checkpoint(model: Path, *, seed: int = 0) -> None:
    """Random weights for the plans in a trained-model folder, as `nnUNetv2_predict` reads them."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(json.loads((model / "plans.json").read_text(encoding="utf-8")))
    dataset = json.loads((model / "dataset.json").read_text(encoding="utf-8"))
    configuration = plans.get_configuration("3d_fullres")
    torch.manual_seed(seed)
    network = nnUNetTrainer.build_network_architecture(
        plans,
        configuration,
        determine_num_input_channels(plans, configuration, dataset),
        plans.get_label_manager(dataset).num_segmentation_heads,
        enable_deep_supervision=False,
    )
    content = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    (model / "fold_0").mkdir(parents=True, exist_ok=True)
    torch.save(content, model / "fold_0" / "checkpoint_final.pth")


def main() -> None:
    """Do what is asked and tell the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("versions")
    commands.add_parser("checkpoint").add_argument("--model", type=Path, required=True)
    asked = commands.add_parser("export")
    asked.add_argument("--variant", choices=tuple(RESAMPLING), required=True)
    asked.add_argument("--logits", type=Path, required=True)
    asked.add_argument("--target", type=int, nargs=3, required=True)
    asked.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "versions":
        names = ("nnunetv2", "torch", "numpy", "scikit-image", "dynamic_network_architectures")
        measure.tell({name: version(name) for name in names})
    elif arguments.command == "checkpoint":
        write_checkpoint(arguments.model)
        measure.tell({"model": arguments.model.name})
    else:
        logits, target = np.load(arguments.logits), tuple(arguments.target)
        # A small one first: imports, look-ups by name and threads are not the export's.
        export(logits[:2, :8, :8, :8], (12, 12, 12), arguments.variant)
        labels, figures = measure.measured(lambda: export(logits, target, arguments.variant))
        np.save(arguments.output, labels)
        measure.tell(figures)


if __name__ == "__main__":
    main()
