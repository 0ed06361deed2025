"""svdkit heads against transformers: tiny random models of every family whose heads svdkit knows.

For each family the four matrices of every head are cut out here, by other means than svdkit's, and held against the model
itself: the attention that it computes, and what its attention module adds to the stream. Then svdkit's numbers have to be
those of these matrices. Needs numpy, torch, transformers:

    python tests/heads_families.py target/debug/svdkit [FAMILY ...]
"""

import json
import math
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers as T

SMALL = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, vocab_size=64,
             pad_token_id=0, bos_token_id=1, eos_token_id=2)
GPT = dict(n_embd=32, n_layer=3, n_head=4, vocab_size=64, n_positions=32, bos_token_id=1, eos_token_id=2)
FAMILIES = {
    "llama": (T.LlamaConfig, T.LlamaModel, dict(SMALL, num_key_value_heads=2)),
    "mistral": (T.MistralConfig, T.MistralModel, dict(SMALL, num_key_value_heads=2)),
    "qwen2": (T.Qwen2Config, T.Qwen2Model, dict(SMALL, num_key_value_heads=2)),
    "qwen3": (T.Qwen3Config, T.Qwen3Model, dict(SMALL, num_key_value_heads=2, head_dim=16)),
    "gemma": (T.GemmaConfig, T.GemmaModel, dict(SMALL, num_key_value_heads=1, head_dim=16)),
    "gemma2": (T.Gemma2Config, T.Gemma2Model, dict(SMALL, num_key_value_heads=2, head_dim=16, query_pre_attn_scalar=24)),
    "gemma3": (T.Gemma3TextConfig, T.Gemma3TextModel, dict(SMALL, num_key_value_heads=2, head_dim=16, query_pre_attn_scalar=24)),
    "phi": (T.PhiConfig, T.PhiModel, SMALL),
    "phi3": (T.Phi3Config, T.Phi3Model, dict(SMALL, num_key_value_heads=2)),
    "granite": (T.GraniteConfig, T.GraniteModel, dict(SMALL, num_key_value_heads=2, attention_multiplier=0.3)),
    "gpt2": (T.GPT2Config, T.GPT2Model, GPT),
    "gptj": (T.GPTJConfig, T.GPTJModel, dict(GPT, rotary_dim=4)),
    "gpt_neo": (T.GPTNeoConfig, T.GPTNeoModel, dict(hidden_size=32, num_layers=2, num_heads=4, vocab_size=64, bos_token_id=1, eos_token_id=2, attention_types=[[["global", "local"], 1]])),
    "gpt_neox": (T.GPTNeoXConfig, T.GPTNeoXModel, SMALL),
    "bloom": (T.BloomConfig, T.BloomModel, dict(hidden_size=32, n_layer=3, n_head=4, vocab_size=64)),
    "mpt": (T.MptConfig, T.MptModel, dict(d_model=32, n_layers=3, n_heads=4, vocab_size=64, expansion_ratio=2)),
    "opt": (T.OPTConfig, T.OPTModel, dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, ffn_dim=48, vocab_size=64, word_embed_proj_dim=32, max_position_embeddings=32)),
    "opt_post": (T.OPTConfig, T.OPTModel, dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, ffn_dim=48, vocab_size=64, word_embed_proj_dim=32, max_position_embeddings=32, do_layer_norm_before=False)),
    "bert": (T.BertConfig, T.BertModel, SMALL),
    "roberta": (T.RobertaConfig, T.RobertaModel, SMALL),
    "distilbert": (T.DistilBertConfig, T.DistilBertModel, dict(dim=32, n_layers=3, n_heads=4, hidden_dim=48, vocab_size=64)),
    "vit": (T.ViTConfig, T.ViTModel, dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, image_size=32, patch_size=8)),
    "clip": (T.CLIPConfig, T.CLIPModel, dict(text_config=dict(SMALL), vision_config=dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=6, intermediate_size=48, image_size=32, patch_size=8), projection_dim=16)),
    "whisper": (T.WhisperConfig, T.WhisperModel, dict(d_model=32, encoder_layers=2, decoder_layers=3, encoder_attention_heads=2, decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=64, num_mel_bins=8, max_source_positions=16, max_target_positions=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)),
    "t5": (T.T5Config, T.T5Model, dict(d_model=32, d_kv=12, d_ff=48, num_layers=2, num_decoder_layers=3, num_heads=4, vocab_size=64)),
    "deepseek": (T.DeepseekV3Config, T.DeepseekV3Model, dict(SMALL, num_key_value_heads=4, q_lora_rank=20, kv_lora_rank=16, qk_rope_head_dim=4, qk_nope_head_dim=6, v_head_dim=8, n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1, moe_intermediate_size=16, first_k_dense_replace=1)),
    "deepseek_direct": (T.DeepseekV3Config, T.DeepseekV3Model, dict(SMALL, num_key_value_heads=4, q_lora_rank=None, kv_lora_rank=16, qk_rope_head_dim=4, qk_nope_head_dim=6, v_head_dim=8, n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1, moe_intermediate_size=16, first_k_dense_replace=1)),
}
# The module that attends, by the end of its name, and the norm that it reads through; ^ is in the block before.
ATTENTION = {
    "gpt2": ("attn", "ln_1"), "gptj": ("attn", "ln_1"), "gpt_neo": ("attn.attention", "ln_1"),
    "gpt_neox": ("attention", "input_layernorm"), "bloom": ("self_attention", "input_layernorm"),
    "mpt": ("attn", "norm_1"), "opt": ("self_attn", "self_attn_layer_norm"), "opt_post": ("self_attn", "^final_layer_norm"),
    "bert": ("attention", "^output.LayerNorm"), "roberta": ("attention", "^output.LayerNorm"),
    "distilbert": ("attention", "^output_layer_norm"), "vit": ("attention", "layernorm_before"),
    "clip": ("self_attn", "layer_norm1"), "whisper": ("self_attn", "self_attn_layer_norm"),
    "t5": ("layer.0.SelfAttention", "layer.0.layer_norm"),
}
BY_HEAD = {"gpt_neox", "bloom"}


class Head:
    """One head: W_Q, W_K, W_V as d × d_h and W_O as d_h × d, for normed inputs of unit gain, with the biases of q, k."""


def heads_of(family, model):
    """Heads by the names that svdkit should give them."""
    modules = dict(model.named_modules())
    own, norm = ATTENTION.get(family, ("self_attn", "input_layernorm"))
    found = {}
    for name, module in modules.items():
        block = name.removesuffix("." + own)
        if block == name or not block.rsplit(".", 1)[-1].isdigit():
            continue
        found.update(heads(family, model, modules, (name, module, block), norm, False))
        cross = {"whisper": ("encoder_attn", "encoder_attn_layer_norm"), "t5": ("layer.1.EncDecAttention", "layer.1.layer_norm")}.get(family)
        if cross and f"{block}.{cross[0]}" in modules:
            path = f"{block}.{cross[0]}"
            found.update(heads(family, model, modules, (path, modules[path], block), cross[1], True))
    return found


def scaling(family, modules, block, norm):
    """Gain, shift, and whether the mean is taken away."""
    stack, number = block.rsplit(".", 1)
    if norm.startswith("^"):
        norm = norm[1:]
        path = f"{stack}.{int(number) - 1}.{norm}" if number != "0" else ("embeddings.LayerNorm" if family != "opt_post" else None)
    else:
        path = f"{block}.{norm}"
    if path is None:
        return None, None, False
    module = modules[path]
    gain = module.weight.detach().numpy().astype(np.float64)
    if family.startswith("gemma"):
        gain = gain + 1
    shift = getattr(module, "bias", None)
    is_layer_norm = isinstance(module, torch.nn.LayerNorm)
    return gain, None if shift is None else shift.detach().numpy().astype(np.float64), is_layer_norm


def linear(module):
    """Weight as inputs × outputs, and bias."""
    weight = module.weight.detach().numpy().astype(np.float64)
    if not isinstance(module, T.pytorch_utils.Conv1D):
        weight = weight.T
    bias = getattr(module, "bias", None)
    return weight, None if bias is None else bias.detach().numpy().astype(np.float64)


def heads(family, model, modules, place, norm, is_cross):
    name, module, block = place
    gain, shift, centred = scaling(family, modules, block, norm)
    pick = lambda *names: next(getattr(module, n) if "." not in n else module.get_submodule(n) for n in names if _has(module, n))
    config = model.config
    if family == "clip":
        config = config.text_config if name.startswith("text") else config.vision_config
    count = getattr(config, "num_attention_heads", None) or config.n_heads
    if family == "whisper":
        count = config.encoder_attention_heads if name.startswith("encoder") else config.decoder_attention_heads
    out, _ = linear(pick("o_proj", "dense", "c_proj", "out_proj", "output.dense", "out_lin", "o"))
    fused = _has(module, "c_attn", "query_key_value", "Wqkv", "qkv_proj")
    bias = [None] * 3
    if family.startswith("deepseek"):
        qkv = latent(module)
        kv = count
    elif fused:
        weight, b = linear(pick("c_attn", "query_key_value", "Wqkv", "qkv_proj"))
        kv = getattr(config, "num_key_value_heads", None) or count
        size = weight.shape[1] // (count + 2 * kv)
        if family in BY_HEAD:
            order = np.arange(weight.shape[1]).reshape(count, 3, size).transpose(1, 0, 2)
            cut = [o.reshape(-1) for o in order]
        else:
            cut = np.split(np.arange(weight.shape[1]), [count * size, (count + kv) * size])
        qkv = [weight[:, c] for c in cut]
        bias = [None if b is None else b[c] for c in cut]
    else:
        both = [linear(pick(*names)) for names in (
            ("q_proj", "query", "self.query", "attention.query", "q_lin", "q"), ("k_proj", "key", "self.key", "attention.key", "k_lin", "k"), ("v_proj", "value", "self.value", "attention.value", "v_lin", "v"))]
        qkv, bias = [b[0] for b in both], [b[1] for b in both]
        kv = count * qkv[1].shape[1] // qkv[0].shape[1]
    reads = [(gain, shift)] * 3
    if is_cross:
        last = modules["encoder.layer_norm" if family == "whisper" else "encoder.final_layer_norm"]
        beyond = (last.weight.detach().numpy().astype(np.float64), last.bias.detach().numpy().astype(np.float64) if getattr(last, "bias", None) is not None else None)
        reads = [reads[0], beyond, beyond]
    found = {}
    sizes = [qkv[0].shape[1] // count, qkv[1].shape[1] // kv, qkv[2].shape[1] // kv]
    for h in range(count):
        head = Head()
        head.number, head.module, head.is_cross = h, name, is_cross
        head.parts, head.bias = [], []
        for i, index in enumerate((h, h * kv // count, h * kv // count)):
            span = slice(index * sizes[i], (index + 1) * sizes[i])
            w, b = qkv[i][:, span], bias[i]
            b = None if b is None else b[span].copy()
            g, s = reads[i]
            if s is not None:
                b = (0 if b is None else b) + s @ w
            if g is not None:
                w = w * g[:, None]
            if centred:
                w = w - w.mean(0)
            head.parts.append(w)
            head.bias.append(b)
        o = out[h * sizes[2]:(h + 1) * sizes[2]]
        head.raw_output = o
        head.output = o - o.mean(1, keepdims=True) if centred or family == "opt_post" else o
        head.gains = None
        if family in ("qwen3", "gemma3"):
            one = 1 if family == "gemma3" else 0
            head.gains = [getattr(module, n).weight.detach().numpy().astype(np.float64) + one for n in ("q_norm", "k_norm")]
            head.normless = head.parts[:2]
            head.parts = [head.parts[0] * head.gains[0], head.parts[1] * head.gains[1], head.parts[2]]
        # The class names its blocks otherwise than the files that it writes.
        stored = name.replace("layers.", "encoder.layer.") if family == "vit" else name
        found[f"{stored}.head.{h}"] = head
    return found


def latent(module):
    """Latent attention as if its latent vectors were not normed but for the gains."""
    value = lambda m: m.weight.detach().numpy().astype(np.float64)
    if getattr(module, "q_proj", None) is not None:
        q = value(module.q_proj).T
    else:
        q = (value(module.q_b_proj) * value(module.q_a_layernorm) @ value(module.q_a_proj)).T
    down = value(module.kv_a_proj_with_mqa)
    rank = module.kv_lora_rank
    up = (value(module.kv_b_proj) * value(module.kv_a_layernorm) @ down[:rank]).T
    plain, v = module.qk_nope_head_dim, module.v_head_dim
    up = up.reshape(up.shape[0], -1, plain + v)
    shared = np.repeat(down[rank:].T[:, None], up.shape[1], 1)
    k = np.concatenate([up[:, :, :plain], shared], 2)
    return [q, k.reshape(len(k), -1), up[:, :, plain:].reshape(len(k), -1)]


def gain_of(head, model):
    block = head.module.removesuffix(".self_attn")
    return dict(model.named_modules())[f"{block}.input_layernorm"].weight.detach().numpy().astype(np.float64)


def latent_bounds(module, h, scale, gain):
    """Latent vectors are as long as their norms leave them, and so is the stream."""
    value = lambda m: m.weight.detach().numpy().astype(np.float64)
    plain, rotated, rank, v = module.qk_nope_head_dim, module.qk_rope_head_dim, module.kv_lora_rank, module.v_head_dim
    low = getattr(module, "q_proj", None) is None
    q = value(module.q_b_proj) * value(module.q_a_layernorm) if low else value(module.q_proj) * gain
    q = q.reshape(-1, plain + rotated, q.shape[1])[h]
    up = (value(module.kv_b_proj) * value(module.kv_a_layernorm)).reshape(-1, plain + v, rank)[h][:plain]
    shared = value(module.kv_a_proj_with_mqa)[rank:] * gain
    inner, d = np.sqrt(q.shape[1]), np.sqrt(len(gain))
    first = np.linalg.norm(q[:plain].T @ up, 2) * inner * np.sqrt(rank)
    here = first + np.linalg.norm(q[plain:].T @ shared, 2) * inner * d
    return scale * here, scale * (first + np.linalg.norm(q[plain:], 2) * np.linalg.norm(shared, 2) * inner * d)


def _has(module, *names):
    for name in names:
        try:
            module.get_submodule(name)
            return True
        except AttributeError:
            continue
    return False


def scale_of(family, model, head):
    size = head.parts[0].shape[1]
    config = model.config
    if family in ("gpt_neo", "t5"):
        return 1.0
    if family in ("gemma2", "gemma3"):
        return config.query_pre_attn_scalar ** -0.5
    if family == "granite":
        return config.attention_multiplier
    return size ** -0.5


def check_model(family, model, found):
    """The matrices are those that the model computes with: its attention weights, and what it adds to the stream."""
    inputs, kept = {}, {}
    modules = dict(model.named_modules())
    paths = {head.module for head in found.values() if not head.is_cross}

    def before(path):
        def hook(module, args, kwargs):
            inputs[path] = (args[0] if args else kwargs["hidden_states"]).detach().numpy().astype(np.float64)[0]
        return hook

    def after(path):
        def hook(module, args, kwargs, output):
            output = output if isinstance(output, tuple) else (output, None)
            kept[path] = output[0].detach().numpy().astype(np.float64)[0], output[2 if family == "t5" else 1]
        return hook

    for path in paths:
        modules[path].register_forward_pre_hook(before(path), with_kwargs=True)
        modules[path].register_forward_hook(after(path), with_kwargs=True)
    ids = torch.randint(3, 60, (1, 5))
    if family == "vit":
        model(torch.randn(1, 3, 32, 32))
    elif family == "clip":
        model(input_ids=ids, pixel_values=torch.randn(1, 3, 32, 32))
    elif family == "whisper":
        model(torch.randn(1, 8, 32), decoder_input_ids=ids)
    elif family == "t5":
        model(input_ids=ids, decoder_input_ids=ids)
    elif family in ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi", "phi3", "granite", "gptj", "gpt_neox", "deepseek", "deepseek_direct"):
        model(input_ids=ids, position_ids=torch.zeros_like(ids))
    else:
        model(input_ids=ids)
    worst = 0.0
    for path in paths:
        own = [head for head in found.values() if head.module == path]
        x, (output, weights) = inputs[path], kept[path]
        if weights is None or family.startswith("deepseek"):
            continue
        weights = weights.detach().numpy().astype(np.float64)[0]
        unit = own[0].unit(x)
        for h, head in enumerate(own):
            q, k = [unit @ head.parts[i] + (0 if head.bias[i] is None else head.bias[i]) for i in (0, 1)]
            if head.gains is not None:
                q, k = [head.gains[i] * u / np.sqrt((u ** 2).mean(-1, keepdims=True) + 1e-6) for i, u in enumerate(unit @ w for w in head.normless)]
            logits = q @ k.T * scale_of(family, model, head)
            if family == "gemma2":
                logits = 50 * np.tanh(logits / 50)
            p = weights[h]
            # Softmax leaves differences; positions that are not attended to are left out, and so is a bias by position.
            if family in ("bloom", "mpt", "t5"):
                continue
            for i in range(len(p)):
                seen = p[i] > 1e-9
                expected = np.exp(logits[i][seen] - logits[i][seen].max())
                worst = max(worst, np.abs(expected / expected.sum() - p[i][seen]).max())
        written = sum(weights[h] @ (unit @ head.parts[2] + (0 if head.bias[2] is None else head.bias[2])) @ head.raw_output for h, head in enumerate(own))
        bias = output - written
        # All that is missing is one bias for every position, and of modules that add the stream, that.
        if family not in ("bloom", "bert", "roberta", "vit"):
            worst = max(worst, np.abs(bias - bias[0]).max() / np.abs(output).max())
    return worst


def expect(family, model, head):
    q, k, v = head.parts
    d, size = q.shape
    qk, ov = np.linalg.svd(q @ k.T)[1], np.linalg.svd(v @ head.output)[1]
    scale = scale_of(family, model, head)
    rows = [np.zeros(size) if b is None else b for b in head.bias[:2]]
    width = d
    a, b = q, k
    if head.gains is not None:
        bound = any_ = scale * size * np.abs(head.gains[0]).max() * np.abs(head.gains[1]).max()
    else:
        if any(x is not None for x in head.bias[:2]):
            a, b, width = np.vstack([q, rows[0]]), np.vstack([k, rows[1]]), d + 1
        bound = scale * np.linalg.svd(a @ b.T)[1][0] * width
        any_ = scale * np.linalg.norm(a, 2) * np.linalg.norm(b, 2) * width
    if family.startswith("deepseek"):
        bound, any_ = latent_bounds(dict(model.named_modules())[head.module], head.number, scale, gain_of(head, model))
    if family == "gemma2":
        bound, any_ = [50 * np.tanh(x / 50) for x in (bound, any_)]
    values = np.linalg.eigvals(head.output @ v)
    return {"sigma_qk": qk[:min(d, size)], "sigma_ov": ov[:min(d, v.shape[1])], "logit_bound": bound, "logit_bound_rotary": any_,
            "copying": None if head.is_cross else values.sum().real / np.abs(values).sum(), "value_gain": np.linalg.norm(v, 2)}


def main():
    program, wanted = sys.argv[1], sys.argv[2:] or FAMILIES
    failed = 0
    for family in wanted:
        config, kind, settings = FAMILIES[family]
        torch.manual_seed(hash(family) % 1000)
        made = config(**settings)
        made._attn_implementation = "eager"
        model = kind(made).float().eval()
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.data.add_(0.3 * torch.randn_like(parameter))
            elif "norm" not in name.lower():
                parameter.data.mul_(6)
        found = heads_of(family, model)
        for head in found.values():
            head.unit = unit_of(family, model, head)
        of_model = check_model(family, model, found)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            run = lambda *more: subprocess.run([program, "heads", folder, "--format", "json", "-q", *more], capture_output=True, text=True)
            report = run("--top-directions", "99")
            if report.returncode:
                print(f"{family}: {report.stderr}")
                failed += 1
                continue
            rows = {row["name"]: row for row in json.loads(report.stdout)["rows"]}
            pairs = json.loads(run("--compose").stdout)["rows"]
        worst = {}
        if set(rows) != set(found):
            print(f"{family}: names differ: {sorted(rows.keys() - found.keys())[:3]} {sorted(found.keys() - rows.keys())[:3]}")
            failed += 1
            continue
        for name, head in found.items():
            for key, value in expect(family, model, head).items():
                here = rows[name][key]
                if here is None or value is None:
                    if not (here is None and (value is None or key == "logit_bound_rotary")):
                        worst[key] = math.inf
                    continue
                worst[key] = max(worst.get(key, 0), np.abs(np.array(here) - value).max() / np.abs(value).max())
        norm = np.linalg.norm
        for pair in pairs:
            first, second = found[pair["earlier"]["name"]], found[pair["later"]["name"]]
            left = first.parts[2] @ first.output
            for key, right in (("q", second.parts[0] @ second.parts[1].T), ("k", second.parts[1] @ second.parts[0].T), ("v", second.parts[2] @ second.output)):
                here = pair[f"{key}_composition"]
                if second.is_cross and key != "q":
                    assert here is None
                    continue
                worst[key] = max(worst.get(key, 0), abs(here - norm(left @ right) / norm(left) / norm(right)))
        largest = max(worst.values())
        is_good = largest < 1e-9 and of_model < 1e-4
        failed += not is_good
        print(f"{'ok ' if is_good else 'OFF'} {family}: {len(rows)} heads, {len(pairs)} pairs, svdkit off by {largest:.1e}, the model by {of_model:.1e}" + ("" if is_good else f" {worst}"))
    sys.exit(failed > 0)


def unit_of(family, model, head):
    """From what the attention module gets, normed and scaled, to the norm's output before gain and shift."""
    modules = dict(model.named_modules())
    own, norm = ATTENTION.get(family, ("self_attn", "input_layernorm"))
    block = head.module.removesuffix("." + own)
    if head.is_cross:
        return lambda x: x
    gain, shift, _ = scaling(family, modules, block, norm)
    return lambda x: (x - (0 if shift is None else shift)) / (1 if gain is None else gain)


if __name__ == "__main__":
    main()
