"""Random Mixtral weights in the layout in which Hugging Face ships Mixtral.

Written with safetensors' own writer: what transformers' save_pretrained writes for Mixtral depends on its version
(later ones fuse the experts), the published checkpoints do not.
"""

import json
import math
import pathlib

import torch
from safetensors.torch import save_file


def _weights(config: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    num_heads, num_kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim", hidden // num_heads)

    def matrix(rows: int, columns: int, gain: float) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator) * (gain / math.sqrt(columns))

    def norm() -> torch.Tensor:
        return 1 + 0.2 * torch.randn(hidden, generator=generator)

    weights = {"model.embed_tokens.weight": matrix(config["vocab_size"], hidden, math.sqrt(hidden) * 0.5)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        attention = prefix + "self_attn."
        weights |= {
            prefix + "input_layernorm.weight": norm(),
            attention + "q_proj.weight": matrix(num_heads * head_dim, hidden, 1.6),
            attention + "k_proj.weight": matrix(num_kv_heads * head_dim, hidden, 1.6),
            attention + "v_proj.weight": matrix(num_kv_heads * head_dim, hidden, 1.0),
            attention + "o_proj.weight": matrix(hidden, num_heads * head_dim, 1.0),
            prefix + "post_attention_layernorm.weight": norm(),
            prefix + "block_sparse_moe.gate.weight": matrix(config["num_local_experts"], hidden, 2.0),
        }
        for expert in range(config["num_local_experts"]):
            name = f"{prefix}block_sparse_moe.experts.{expert}."
            weights |= {
                name + "w1.weight": matrix(inner, hidden, 1.5),
                name + "w2.weight": matrix(hidden, inner, 1.5),
                name + "w3.weight": matrix(inner, hidden, 1.5),
            }
    weights["model.norm.weight"] = norm()
    if not config.get("tie_word_embeddings", False):
        weights["lm_head.weight"] = matrix(config["vocab_size"], hidden, 2.5)
    return weights


def write_checkpoint(folder: pathlib.Path, config: dict, num_shards: int, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    dtype = getattr(torch, config["torch_dtype"])
    weights = {name: tensor.to(dtype).contiguous()
               for name, tensor in _weights(config, torch.Generator().manual_seed(seed)).items()}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "transformers_version": "4.36.0"}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    if num_shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = list(weights)
    size = -(-len(names) // num_shards)
    weight_map = {}
    for shard in range(num_shards):
        file = f"model-{shard + 1:05d}-of-{num_shards:05d}.safetensors"
        part = {name: weights[name] for name in names[shard * size:(shard + 1) * size]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
