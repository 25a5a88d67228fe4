"""Logits → statistics per response token. The target is left out of every sum, so that none cancels.

With m = max over v ≠ y of z_v, and S1 = Σ e^(z_v − m), S2 = Σ e^(2(z_v − m)), Sz = Σ (z_v − m) e^(z_v − m) over
v ≠ y, the log-odds of the target are d = z_y − m − log S1, and every statistic follows without cancellation.
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
    target_R1 = target_R[:, None]
    target_logit_R = logits_RV.gather(1, target_R1)[:, 0]
    others_RV = logits_RV.scatter(1, target_R1, LEFT_OUT)
    max_R = others_RV.amax(dim=1)
    shifted_RV = others_RV - max_R[:, None]
    exp_RV = shifted_RV.exp()
    s1_R = exp_RV.sum(dim=1)
    s2_R = exp_RV.square().sum(dim=1)
    sz_R = (shifted_RV * exp_RV).sum(dim=1)

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
