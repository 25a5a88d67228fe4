"""The training loss of a batch and its gradients: the head in chunks of tokens, each passed over once.

Logits are kept for no longer than a chunk: its softmax gives at once the loss and the gradients of head and states,
since what scales the loss is known before the pass.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from s2l.scoring.batching import Batch
from s2l.scoring.forward import HeadPath, response_logits
from s2l.scoring.trunk import trunk_states

Scale = float | Float[torch.Tensor, " R"]
"""Of all counted tokens, or of each."""
CHUNK_ROWS = {"cpu": 512}
CHUNK_ROWS_GPU = 4096
CHUNK_ELEMENTS = 2**26


def backward(
    model: PreTrainedModel, batch: Batch, path: HeadPath, scale: Scale, precision: str
) -> Float[torch.Tensor, ""]:
    """Add the gradients of Σ `scale` · NLL over the batch's counted tokens to `.grad`; returns that loss, detached."""
    head = model.get_output_embeddings()
    autocast = torch.autocast(batch.input_ids_BL.device.type, torch.bfloat16, enabled=precision == "bfloat16")
    if path == "trunk" and type(head) is torch.nn.Linear:
        with autocast:
            states_RD = trunk_states(model, batch)
        dtype = torch.bfloat16 if precision == "bfloat16" else head.weight.dtype
        loss, grad_RD = head_backward(states_RD.detach(), head, batch.target_R, scale, dtype)
        states_RD.backward(grad_RD)
        return loss
    with autocast:
        logits_RV, target_R = next(response_logits(model, batch, path))
        loss = (cross_entropy(logits_RV, target_R, reduction="none") * scale).sum()
    loss.backward()
    return loss.detach()


@torch.no_grad()
def head_backward(
    states_RD: Float[torch.Tensor, "R D"],
    head: torch.nn.Linear,
    target_R: Int[torch.Tensor, " R"],
    scale: Scale,
    dtype: torch.dtype,
) -> tuple[Float[torch.Tensor, ""], Float[torch.Tensor, "R D"]]:
    """Σ `scale` · NLL and its gradient by the states; the gradients by the head's weights are added to `.grad`.

    dtype: of the three matrix products; everything else is float32.
    """
    weight_VD, bias_V = head.weight.to(dtype), head.bias
    weight_grad_VD = gradient_of(head.weight)
    loss = torch.zeros((), device=states_RD.device)
    grad_RD = torch.empty_like(states_RD)
    scale_R1 = torch.as_tensor(scale, dtype=torch.float32, device=states_RD.device).expand(len(target_R))[:, None]
    size = chunk_rows(states_RD.device, len(weight_VD))
    for start in range(0, len(target_R), size):
        chunk = slice(start, start + size)
        states_rD, target_r1 = states_RD[chunk].to(dtype), target_R[chunk, None]
        exp_rV = torch.mm(states_rD, weight_VD.t()).float()
        if bias_V is not None:
            exp_rV += bias_V
        target_logit_r1 = exp_rV.gather(1, target_r1)
        max_r1 = exp_rV.amax(dim=1, keepdim=True)
        sum_r1 = exp_rV.sub_(max_r1).exp_().sum(dim=1, keepdim=True)
        loss += ((sum_r1.log() + max_r1 - target_logit_r1) * scale_R1[chunk]).sum()
        excess_rV = exp_rV.scatter_add_(1, target_r1, -sum_r1).to(dtype)  # Σ e^z · (p − onehot)
        factor_r1 = sum_r1.reciprocal() * scale_R1[chunk]
        grad_RD[chunk] = torch.mm(excess_rV, weight_VD) * factor_r1
        scaled_rD = (states_rD * factor_r1).to(dtype)
        if dtype == weight_grad_VD.dtype:
            weight_grad_VD.addmm_(excess_rV.t(), scaled_rD)
        else:
            weight_grad_VD += torch.mm(excess_rV.t(), scaled_rD)
        if bias_V is not None:
            gradient_of(bias_V).add_((exp_rV * factor_r1).sum(dim=0))
    return loss, grad_RD


def gradient_of(parameter: torch.Tensor) -> torch.Tensor:
    """The parameter's `.grad`, zeros if it had none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def chunk_rows(device: torch.device, vocabulary: int) -> int:
    """Tokens whose logits are made at once: enough for the matrix products, few enough to keep memory small."""
    return max(64, min(CHUNK_ROWS.get(device.type, CHUNK_ROWS_GPU), CHUNK_ELEMENTS // vocabulary))
