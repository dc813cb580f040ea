"""One training step of the fastest CIFAR-10 recipe in PyTorch, with the recipe's own constants.

After `airbench94_muon.py` of github.com/KellerJordan/cifar10-airbench (Jordan 2024): 8 epochs of 25
batches of 2000. It sums the losses of a batch and divides logits by 256, where our form of it
(`experiments/presets/cifar10-airbench.flags`) averages losses and divides logits by 9; so the two
agree only if the preset's rates and decays are converted rightly.

Importing this needs the extra `bench`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.torch_airnet import WIDTHS, AirNet

BATCH_SIZE = 2000
STEPS = 200
# The bias of the whitening learns for three of the eight epochs.
WHITENING_FRACTION = 3 / 8
LABEL_SMOOTHING = 0.2
MUON_RATE, MUON_MOMENTUM = 0.24, 0.6
BIAS_RATE, OUTPUT_RATE, MOMENTUM = 0.053, 0.67, 0.85
# Of parameters in each step, at the peak learning rate.
DECAY = 2e-6 * BATCH_SIZE
SCALE = 1 / WIDTHS[-1]


class Recipe:
    """The state of a training: its network, its optimizers and the steps done.

    Args:
        network: an airnet of the recipe's `SCALE`; trained in place.
        steps: of the whole training, in which the learning rates fall to zero.
        forward: the network compiled, or None for the network itself.
    """

    def __init__(
        self, network: AirNet, steps: int, forward: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.network = network.train()
        self.forward = network if forward is None else forward
        self.done = 0
        self.steps = steps
        trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
        self.whitening_bias = trained["whitening.bias"]
        biases = [parameter for name, parameter in trained.items() if "norm" in name]
        self.sgd = torch.optim.SGD(
            [
                _group([self.whitening_bias], BIAS_RATE),
                _group(biases, BIAS_RATE),
                _group([trained["output.weight"]], OUTPUT_RATE),
            ],
            momentum=MOMENTUM,
            nesterov=True,
        )
        kernels = [parameter for parameter in trained.values() if parameter.ndim == 4]
        self.velocities = [(kernel, torch.zeros_like(kernel)) for kernel in kernels]

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One update.

        Args:
            images: normalized, n c 32 32. Losses of batches of another size than the recipe's are
                weighted so that they sum as if there were 2000.
            labels: integers.

        Returns:
            The mean loss of the batch before the update.
        """
        left = 1 - self.done / self.steps
        whitening_left = 1 - self.done / (WHITENING_FRACTION * self.steps)
        logits = self.forward(images).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
        self.sgd.zero_grad()
        self.network.zero_grad()
        (BATCH_SIZE * loss).backward()
        if whitening_left <= 0:
            self.whitening_bias.grad = None
        rates = (BIAS_RATE * whitening_left, BIAS_RATE * left, OUTPUT_RATE * left)
        for group, rate in zip(self.sgd.param_groups, rates, strict=True):
            group["lr"] = rate
        self.sgd.step()
        for kernel, velocity in self.velocities:
            _muon(kernel, velocity, MUON_RATE * left)
        self.done += 1
        return loss.detach()


def _group(parameters: Sequence[Tensor], rate: float) -> dict[str, object]:
    return {"params": list(parameters), "lr": rate, "weight_decay": DECAY / rate}


@torch.no_grad()
def _muon(kernel: Tensor, velocity: Tensor, rate: float) -> None:
    """Nesterov's momentum, orthogonalized by three Newton-Schulz steps, on a normalized kernel."""
    assert kernel.grad is not None
    velocity.mul_(MUON_MOMENTUM).add_(kernel.grad)
    direction = (kernel.grad + MUON_MOMENTUM * velocity).flatten(1)
    if direction.dtype == torch.float16:
        direction = direction.bfloat16()
    wide = direction.shape[0] <= direction.shape[1]
    x = direction / (direction.norm() + 1e-7)
    x = x if wide else x.mT
    for _ in range(3):
        gram = x @ x.mT
        x = 3.4445 * x - 4.7750 * gram @ x + 2.0315 * gram @ gram @ x
    x = x if wide else x.mT
    kernel.mul_(len(kernel) ** 0.5 / kernel.norm()).sub_(rate * x.reshape(kernel.shape))
