"""Cuts the attention goldens from the golden/micro models: python3 cut.py FOLDER_WITH_MICRO_MODELS OUT_FOLDER

What is judged (entries, visible, attn_out) is taken as it is from golden.safetensors, which Hugging Face transformers wrote. The
inputs of the kernels (projections of layer 0) are not in there; they are computed here in float64 from the model's weights and input
ids, up to the point where our kernels begin. Needs numpy only. Along the way it checks itself: layer 0's collapsed streams and its
attention output, computed densely in float64, against the golden.
"""
import hashlib, json, math, os, struct, sys
import numpy as np

MICRO, OUT = sys.argv[1:3]
f4, f8 = np.float32, np.float64


def load(path):
    b = open(path, "rb").read()
    n = struct.unpack("<Q", b[:8])[0]
    dtypes = {"F32": "<f4", "I32": "<i4", "U8": "u1", "I64": "<i8"}
    out = {}
    for name, t in json.loads(b[8 : 8 + n]).items():
        if name != "__metadata__":
            start, end = t["data_offsets"]
            out[name] = np.frombuffer(b[8 + n + start : 8 + n + end], dtypes[t["dtype"]]).reshape(t["shape"])
    return out


def save(name, tensors):
    head, data = {}, b""
    for key, v in tensors.items():
        v = np.ascontiguousarray(v)
        dtype = {"float32": "F32", "int32": "I32", "uint8": "U8"}[str(v.dtype)]
        head[key] = {"dtype": dtype, "shape": list(v.shape), "data_offsets": [len(data), len(data) + v.nbytes]}
        data += v.tobytes()
    j = json.dumps(head, separators=(",", ":")).encode()
    j += b" " * (-len(j) % 8)
    open(os.path.join(OUT, name), "wb").write(struct.pack("<Q", len(j)) + j + data)


def rms(x, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)


def project(x, w):
    return x @ w.T.astype(f8)


def rope(x, inv, sign=1):
    a = np.arange(x.shape[0])[:, None] * inv
    shape = (slice(None),) + (None,) * (x.ndim - 2)
    c, s, r, x = np.cos(a)[shape], sign * np.sin(a)[shape], 2 * len(inv), x.copy()
    e, o = x[..., -r::2].copy(), x[..., -r + 1 :: 2].copy()
    x[..., -r::2], x[..., -r + 1 :: 2] = e * c - o * s, o * c + e * s
    return x


def layer0(name):
    """Config, weights, golden, and the attention's input [S, D] of layer 0 in float64."""
    c = json.load(open(f"{MICRO}/{name}/config.json"))
    m, g = load(f"{MICRO}/{name}/model.safetensors"), load(f"{MICRO}/{name}/golden.safetensors")
    hc = c["hc_mult"]
    streams = np.repeat(m["embed.weight"][g["input_ids"]].astype(f8)[:, None], hc, 1)
    mix = project(rms(streams.reshape(len(streams), -1), c["rms_norm_eps"]), m["layers.0.hc_attn_fn"])[:, :hc]
    pre = 1 / (1 + np.exp(-(mix * f8(m["layers.0.hc_attn_scale"][0]) + m["layers.0.hc_attn_base"][:hc]))) + c["hc_eps"]
    collapsed = np.einsum("tk,tkd->td", pre, streams)
    error = np.abs(collapsed[g["positions"]] - g["layers.0.attn_hc_collapsed"]).max()
    assert error < 2e-6, error
    return c, m, g, rms(collapsed, c["rms_norm_eps"]) * m["layers.0.attn_norm.weight"]


def cut_hca():
    """micro-pro, layer 0: HCA with YaRN, two windows."""
    _, m, g, x = layer0("micro-pro")
    p, n = "layers.0.attn.compressor.", 256
    save("hca.safetensors", {
        "kv": project(x[:n], m[p + "wkv.weight"]).astype(f4),
        "gate": project(x[:n], m[p + "wgate.weight"]).astype(f4),
        "ape": m[p + "ape"], "norm": m[p + "norm.weight"],
        "entries": g["layers.0.compressed_kv"][: n // 128], "visible": g["layers.0.visible"],
    })


def cut_csa():
    """micro-wide, layer 0: CSA with its indexer, 65 tokens, through the output projection."""
    c, m, g, x = layer0("micro-wide")
    n, a, eps = 65, "layers.0.attn.", c["rms_norm_eps"]
    x, half = x[:n], c["qk_rope_head_dim"] // 2
    heads, d = c["num_attention_heads"], c["head_dim"]
    inv = c["compress_rope_theta"] ** (-np.arange(half) / half)
    qr = rms(project(x, m[a + "wq_a.weight"]), eps) * m[a + "q_norm.weight"]
    q = rope(rms(project(qr, m[a + "wq_b.weight"]).reshape(n, heads, d), eps), inv)
    kv = rope(rms(project(x, m[a + "wkv.weight"]), eps) * m[a + "kv_norm.weight"], inv)
    iq = rope(project(qr, m[a + "indexer.wq_b.weight"]).reshape(n, c["index_n_heads"], -1), inv)
    kept = [i for i, t in enumerate(g["positions"]) if t < n]
    at = g["positions"][kept]
    visible, entries = g["layers.0.visible"][:n, : n // 4], g["layers.0.compressed_kv"][: n // 4]

    sinks, out = m[a + "attn_sink"].astype(f8), np.zeros((n, heads, d))
    for t in range(n):
        keys = np.concatenate([kv[max(0, t - c["sliding_window"] + 1) : t + 1], entries[visible[t] == 1]])
        s = q[t] @ keys.T * d**-0.5
        top = np.maximum(s.max(-1), sinks)
        e = np.exp(s - top[:, None])
        out[t] = (e / (e.sum(-1) + np.exp(sinks - top))[:, None]) @ keys
    wa = m[a + "wo_a.weight"].astype(f8).reshape(c["o_groups"], -1, heads * d // c["o_groups"])
    y = np.einsum("tgk,gnk->tgn", rope(out, inv, -1).reshape(n, c["o_groups"], -1), wa).reshape(n, -1)
    error = np.abs(project(y, m[a + "wo_b.weight"])[at] - g["layers.0.attn_out"][kept]).max()
    assert error < 5e-6, error

    tensors = {"kv": kv.astype(f4), "q": q.astype(f4), "sinks": m[a + "attn_sink"],
               "index_q": iq.astype(f4), "index_weights": project(x, m[a + "indexer.weights_proj.weight"]).astype(f4),
               "wo_a": m[a + "wo_a.weight"], "wo_b": m[a + "wo_b.weight"],
               "entries": entries, "visible": visible, "positions": at.astype(np.int32), "attn_out": g["layers.0.attn_out"][kept]}
    for kind, p in [("compressor", a + "compressor."), ("indexer", a + "indexer.compressor.")]:
        tensors |= {f"{kind}.kv": project(x, m[p + "wkv.weight"]).astype(f4), f"{kind}.gate": project(x, m[p + "wgate.weight"]).astype(f4),
                    f"{kind}.ape": m[p + "ape"], f"{kind}.norm": m[p + "norm.weight"]}
    save("csa.safetensors", tensors)


def inverse_frequencies(dim, theta, yarn=None):
    """Float32 steps in the order of transformers' rope initialisers, with numpy in place of torch."""
    power = f4(theta) ** (np.arange(0, dim, 2, dtype=f4) / f4(dim))
    plain = f4(1) / power
    if yarn is None:
        return plain
    at = lambda turns: dim * math.log(yarn["original"] / (turns * 2 * math.pi)) / (2 * math.log(theta))
    low, high = max(math.floor(at(yarn["fast"])), 0), min(math.ceil(at(yarn["slow"])), dim - 1)
    high += 0.001 if low == high else 0
    keep = f4(1) - np.clip((np.arange(dim // 2, dtype=f4) - f4(low)) / f4(high - low), 0, 1).astype(f4)
    return f4(1) / (f4(yarn["factor"]) * power) * (f4(1) - keep) + plain * keep


def cut_rope():
    cases = [(64, 10000, None), (64, 160000, dict(factor=16, fast=32, slow=1, original=65536)), (32, 160000, None),
             (8, 160000, dict(factor=16, fast=32, slow=1, original=256)), (8, 160000, dict(factor=4, fast=32, slow=1, original=128)),
             (64, 160000, dict(factor=40, fast=8, slow=8, original=4096))]
    rows = [{"ropeDim": d, "theta": t, "yarn": y, "invFreq": [float(v) for v in inverse_frequencies(d, t, y)]} for d, t, y in cases]
    json.dump({"cases": rows}, open(os.path.join(OUT, "rope.json"), "w"), indent=1)


cut_hca()
cut_csa()
cut_rope()
files = ["hca.safetensors", "csa.safetensors", "rope.json"]
json.dump({
    "source": "golden/micro models micro-pro and micro-wide: Hugging Face transformers 5.17 deepseek_v4, eager, float32",
    "version": "transformers 5.17.0; numpy " + np.__version__,
    "command": "python3 cut.py golden/micro test/goldens",
    "sha256": {f: hashlib.sha256(open(os.path.join(OUT, f), "rb").read()).hexdigest() for f in files},
}, open(os.path.join(OUT, "provenance.json"), "w"), indent=1)
