"""Hugging Face transformers' own Mixtral in float32, and what a golden.json holds of it."""

import math
import pathlib

import torch
from transformers import MixtralForCausalLM


def load(folder: pathlib.Path) -> MixtralForCausalLM:
    """The checkpoint with its weights widened to float32, plain ("eager") attention."""
    model = MixtralForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


@torch.no_grad()
def logits(model: MixtralForCausalLM, tokens: list[int]) -> torch.Tensor:
    """[tokens, vocabulary]; without a KV cache, so that every position is computed the plain way."""
    return model(torch.tensor([tokens]), use_cache=False).logits[0].double()


def score(model: MixtralForCausalLM, tokens: list[int]) -> dict:
    """One entry of golden.json's `sequences`."""
    all_logits = logits(model, tokens)
    logprobs = torch.log_softmax(all_logits, dim=-1)
    best = all_logits.topk(2, dim=-1)
    return {
        "tokens": tokens,
        "logprobs": [round(logprobs[i, tokens[i + 1]].item(), 6) for i in range(len(tokens) - 1)],
        "top1": best.indices[:, 0].tolist(),
        "top1_margin": [round(m, 5) for m in (best.values[:, 0] - best.values[:, 1]).tolist()],
    }


def continue_greedily(model: MixtralForCausalLM, prompt: list[int], num_tokens: int) -> dict:
    """golden.json's `greedy`."""
    continuation, margins = [], []
    for _ in range(num_tokens):
        best = logits(model, prompt + continuation)[-1].topk(2)
        continuation.append(best.indices[0].item())
        margins.append(round((best.values[0] - best.values[1]).item(), 5))
    return {"prompt": prompt, "continuation": continuation, "margins": margins}


@torch.no_grad()
def smallest_router_gap(model: MixtralForCausalLM, sequences: list[list[int]]) -> float:
    """Over layers and tokens: the last chosen expert's logit minus the first rejected one's; infinite without one."""
    top_k, num_experts = model.config.num_experts_per_tok, model.config.num_local_experts
    if top_k == num_experts:
        return math.inf
    gap = math.inf
    for tokens in sequences:
        output = model(torch.tensor([tokens]), use_cache=False, output_router_logits=True)
        for layer in output.router_logits:
            ordered = layer.sort(dim=-1, descending=True).values
            gap = min(gap, (ordered[:, top_k - 1] - ordered[:, top_k]).min().item())
    return gap
