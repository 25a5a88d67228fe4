"""For the whole suite: no network, two threads, and every shape annotation of s2l checked at run time."""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

import jaxtyping
import torch

torch.set_num_threads(2)
jaxtyping.install_import_hook("s2l", "beartype.beartype")
