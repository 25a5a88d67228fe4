"""Logits → statistics per response token. The target is left out of every sum, so that none cancels.

With m = max over v ≠ y of z_v, and S1 = Σ e^(z_v − m), S2 = Σ e^(2(z_v − m)), Sz = Σ (z_v − m) e^(z_v − m) over
v ≠ y, the log-odds of the target are d = z_y − m − log S1, and every statistic follows without cancellation.
The four are updated online over chunks of the vocabulary, so that no row of V logits need exist at once.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch.nn.functional import softplus

from s2l.types import STATISTICS

LEFT_OUT = -1e30


def statistics(logits_RV: Float[torch.Tensor, "R V"], target_R: Int[torch.Tensor, " R"]) -> Float[torch.Tensor, "S R"]:
    """One row per name in `types.STATISTICS`, float32.

    nll in nats; hits 1 where the target is the single argmax; el2n ‖p − onehot‖₂ (Paul et al. 2021, arXiv 2107.07075);
    margin z_y − max over v ≠ y of z_v (Pleiss et al. 2020, arXiv 2001.10528). Overwrites nothing.
    """
    others_RV = logits_RV.clone()
    running_4R = nothing(target_R)
    target_logit_R = take_out(others_RV, target_R, running_4R[0])
    return concluded(update(running_4R, others_RV), target_logit_R)


def nothing(target_R: Int[torch.Tensor, " R"]) -> Float[torch.Tensor, "4 R"]:
    """The running m, S1, S2, Sz before any logit was seen."""
    running_4R = torch.zeros(4, len(target_R), device=target_R.device)
    running_4R[0] = LEFT_OUT
    return running_4R


def take_out(
    logits_Rv: Float[torch.Tensor, "R v"], target_R: Int[torch.Tensor, " R"], taken_R: Float[torch.Tensor, " R"]
) -> Float[torch.Tensor, " R"]:
    """The targets' logits where they are among these v columns, which are overwritten there; else what `taken_R` says.

    target_R counts from the first of the columns; a target may lie before or behind them.
    """
    v = logits_Rv.shape[1]
    column_R1 = target_R.clamp(0, v - 1)[:, None]
    here_R = (target_R >= 0) & (target_R < v)
    logit_R1 = logits_Rv.gather(1, column_R1)
    logits_Rv.scatter_(1, column_R1, logit_R1.masked_fill(here_R[:, None], LEFT_OUT))
    return torch.where(here_R, logit_R1[:, 0].float(), taken_R)


def update(running_4R: Float[torch.Tensor, "4 R"], others_Rv: Float[torch.Tensor, "R v"]) -> Float[torch.Tensor, "4 R"]:
    """The running m, S1, S2, Sz after these logits too, the targets left out of them; float32 inside."""
    m_R, s1_R, s2_R, sz_R = running_4R.unbind()
    others_Rv = others_Rv.float().clamp_min(LEFT_OUT)  # a head may rule tokens out by -inf
    max_R = torch.maximum(m_R, others_Rv.amax(dim=1))
    shifted_Rv = others_Rv - max_R[:, None]
    exp_Rv = shifted_Rv.exp()
    shift_R = m_R - max_R
    scale_R = shift_R.exp()
    return torch.stack(
        [
            max_R,
            scale_R * s1_R + exp_Rv.sum(dim=1),
            scale_R.square() * s2_R + exp_Rv.square().sum(dim=1),
            scale_R * (sz_R + shift_R * s1_R) + (shifted_Rv * exp_Rv).sum(dim=1),
        ]
    )


def concluded(
    running_4R: Float[torch.Tensor, "4 R"], target_logit_R: Float[torch.Tensor, " R"]
) -> Float[torch.Tensor, "S R"]:
    """Running sums over all v ≠ y, and z_y → the statistics."""
    max_R, s1_R, s2_R, sz_R = running_4R.unbind()
    margin_R = target_logit_R - max_R
    log_s1_R = s1_R.log()
    log_odds_R = margin_R - log_s1_R
    nll_R = softplus(-log_odds_R)
    miss_nll_R = softplus(log_odds_R)
    p_target_R = torch.sigmoid(log_odds_R)
    p_others_R = torch.sigmoid(-log_odds_R)
    values = {
        "nll": nll_R,
        "hits": (margin_R > 0).float(),
        "p_target": p_target_R,
        "p_max": torch.maximum(p_target_R, p_others_R / s1_R),
        "entropy": p_target_R * nll_R + p_others_R * (miss_nll_R + log_s1_R - sz_R / s1_R),
        "el2n": p_others_R * (1 + s2_R / s1_R.square()).sqrt(),
        "margin": margin_R,
    }
    return torch.stack([values[name] for name in STATISTICS])
