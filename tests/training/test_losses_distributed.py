"""Two processes against one: the same loss and the same gradient, whoever has which samples."""

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from attnseg.training.losses import SegmentationLoss

# Samples of each process. Unequal, and with unequal shares of ignored voxels and absent classes.
SHARES = (slice(0, 3), slice(3, 4))
STRIDES = [(1, 1, 1), (2, 2, 2)]
MEMBERSHIP = torch.tensor([[False, True, True], [False, False, True], [False, True, False]])
KINDS = ("dice_ce", "dice_focal", "tversky", "generalized_dice")


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.fine = nn.Conv3d(1, 3, 3, padding=1)
        self.coarse = nn.Conv3d(3, 3, 3, padding=1, stride=2)

    def forward(self, x):
        fine = self.fine(x)
        return [fine, self.coarse(fine.relu())]


def one_step(samples):
    """Loss and gradients of each kind of loss, on the given samples of the batch."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 1, 5, 7, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, images.shape, generator=generator)
    labels[0, :, 2:] = -1
    labels[3, :, :, :1] = -1
    present = torch.ones(4, 3, dtype=torch.bool)
    labels[1][labels[1] == 2] = 0
    present[1, 2] = False
    found = {}
    for kind in KINDS:
        for membership in (None, MEMBERSHIP):
            torch.manual_seed(1)
            network = TwoHeads().double()
            model = DistributedDataParallel(network) if dist.is_initialized() else network
            loss_of = SegmentationLoss(kind, strides=STRIDES, membership=membership)
            loss = loss_of(model(images[samples]), labels[samples], present[samples])
            loss.backward()
            name = f"{kind}, {'softmax' if membership is None else 'regions'}"
            found[f"{name}: loss"] = loss.detach()
            for parameter, value in network.named_parameters():
                found[f"{name}: {parameter}"] = value.grad
    return found


def process(rank, folder):
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=len(SHARES))
    save_file(one_step(SHARES[rank]), f"{folder}/{rank}.safetensors")
    dist.destroy_process_group()


@pytest.mark.slow
def test_processes_share_one_loss(tmp_path):
    torch.multiprocessing.spawn(process, args=(str(tmp_path),), nprocs=len(SHARES))
    expected = one_step(slice(0, 4))
    for rank in range(len(SHARES)):
        found = load_file(tmp_path / f"{rank}.safetensors")
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
