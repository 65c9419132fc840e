"""The shapes of the random checkpoints: what config.json changes, the weights' type, the number of shards.

A value of None leaves the field out of config.json, so that the default counts.
"""

from dataclasses import dataclass, field

_BASE = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "num_attention_heads": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 8,
    "output_router_logits": False,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "router_aux_loss_coef": 0.02,
    "sliding_window": "null",
    "tie_word_embeddings": False,
    "transformers_version": "4.36.0",
    "use_cache": True,
    "vocab_size": 256,
}

_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 32}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


@dataclass(frozen=True)
class Shape:
    changes: dict = field(default_factory=dict)
    dtype: str = "bfloat16"
    num_shards: int = 1

    def config(self) -> dict:
        config = _BASE | {"torch_dtype": self.dtype} | self.changes
        return {key: None if value == "null" else value for key, value in config.items() if value is not None}


SHAPES = {
    # Four heads of 32 on a hidden size of 64: the projections are not square.
    "head-dim": Shape({"head_dim": 32}, num_shards=2),
    "tied-single-kv-head": Shape({"tie_word_embeddings": True, "num_key_value_heads": 1}),
    # Shorter than most of the sequences, no multiple of a page.
    "sliding-window": Shape({"sliding_window": 7}, dtype="float16"),
    "top1-of-3": Shape({"num_experts_per_tok": 1, "num_local_experts": 3, "rope_theta": 500000.0}, dtype="float32"),
    "top2-of-5": Shape({"num_local_experts": 5, "num_attention_heads": 8, "num_key_value_heads": 8,
                        "intermediate_size": 40, "rms_norm_eps": 0.02}),
    "top4-of-4": Shape({"num_local_experts": 4, "num_experts_per_tok": 4}, dtype="float16"),
    # Neither rope_theta nor rms_norm_eps nor sliding_window nor tie_word_embeddings: transformers' defaults.
    "defaults": Shape({"rope_theta": None, "rms_norm_eps": None, "sliding_window": None, "tie_word_embeddings": None,
                       "num_local_experts": 4}, dtype="float32"),
    "rope-linear": Shape({"rope_scaling": {"type": "linear", "factor": 4.0}}),
    "rope-llama3": Shape({"rope_scaling": _LLAMA3}),
    "rope-yarn": Shape({"rope_scaling": _YARN, "head_dim": 16}),
    "rope-yarn-tuned": Shape({"rope_scaling": _YARN | {"beta_fast": 2.0, "beta_slow": 0.5, "attention_factor": 0.9},
                              "head_dim": 24, "rope_theta": 1000.0}),
    "rope-yarn-mscale": Shape({"rope_scaling": _YARN | {"mscale": 1.2, "mscale_all_dim": 0.6, "truncate": False},
                               "head_dim": 16}),
}
