"""svdkit heads beside TransformerLens: the factored SVDs of OV and QK and all composition scores, on tiny random models.

    python tests/heads_transformer_lens.py target/debug/svdkit

Both fold the norm before the attention into what reads through it and center what a LayerNorm reads. TransformerLens computes
in f32, so the numbers agree to about 1e-6. Needs torch, transformers and transformer_lens (4.3 was used).
"""

import json
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers as T
from transformer_lens.model_bridge import TransformerBridge

SMALL = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, vocab_size=64,
             pad_token_id=0, bos_token_id=1, eos_token_id=2)
FAMILIES = {
    "gpt2": (T.GPT2Config, T.GPT2LMHeadModel, dict(n_embd=32, n_layer=3, n_head=4, vocab_size=64, n_positions=32, bos_token_id=1, eos_token_id=2)),
    "gpt_neox": (T.GPTNeoXConfig, T.GPTNeoXForCausalLM, SMALL),
    "llama": (T.LlamaConfig, T.LlamaForCausalLM, dict(SMALL, num_key_value_heads=2)),
    "qwen2": (T.Qwen2Config, T.Qwen2ForCausalLM, dict(SMALL, num_key_value_heads=2)),
}


def main():
    program, failed = sys.argv[1], False
    for family, (config, kind, settings) in FAMILIES.items():
        torch.manual_seed(1)
        model = kind(config(**settings)).float().eval()
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.data.add_(0.3 * torch.randn_like(parameter))
            elif "norm" not in name.lower():
                parameter.data.mul_(6)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            tokenizer().save_pretrained(folder)
            run = lambda *more: json.loads(subprocess.run([program, "heads", folder, "--format", "json", "-q", *more], capture_output=True, text=True, check=True).stdout)["rows"]
            heads = {(row["layer"], row["head"]): row for row in run("--top-directions", "99")}
            pairs = run("--compose")
            lens = TransformerBridge.boot_transformers(folder, hf_model=model)
            lens.enable_compatibility_mode(disable_warnings=True)
        worst = {"σ(OV)": 0.0, "σ(QK)": 0.0}
        for key, product, ours in (("σ(OV)", lens.OV, "sigma_ov"), ("σ(QK)", lens.QK, "sigma_qk")):
            values = product.S.detach().numpy()
            for (layer, head), row in heads.items():
                theirs = values[layer, head]
                worst[key] = max(worst[key], np.abs(theirs - row[ours]).max() / theirs.max())
        for mode in "QKV":
            scores = lens.all_composition_scores(mode).scores.detach().numpy()
            for row in pairs:
                first, second = row["earlier"], row["later"]
                theirs = scores[first["layer"], first["head"], second["layer"], second["head"]]
                worst[mode] = max(worst.get(mode, 0.0), abs(theirs - row[f"{mode.lower()}_composition"]))
        is_good = max(worst.values()) < 1e-5
        failed |= not is_good
        told = ", ".join(f"{key} {value:.1e}" for key, value in worst.items())
        print(f"{'ok ' if is_good else 'OFF'} {family}: {len(heads)} heads, {len(pairs)} pairs; largest differences: {told}")
    sys.exit(failed)


def tokenizer():
    """Tokens that no test reads: TransformerLens wants some."""
    from tokenizers import Tokenizer, models
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2}, unk_token="a"))
    return T.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="a")


if __name__ == "__main__":
    main()
