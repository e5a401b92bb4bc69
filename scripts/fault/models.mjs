/** Models for the trials: as small as the commands take them, so that a trial has few operations and each can be hit. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../lib/run.mjs';

const MODELS = join(ROOT, 'models');

/** Puts a model of models/ into a folder, without what its tests need. */
export function putModel(name, to) {
  mkdirSync(to, { recursive: true });
  for (const file of ['config.json', 'model.safetensors']) cpSync(join(MODELS, name, file), join(to, file));
}

/**
 * Puts the first layer of a micro model into a folder, with two experts: micro-flash is the smallest, micro-wide has matrices wide enough for GGUF.
 * @param sign -1 turns the signs of the embedding: another model of the same sizes
 */
export function putSmallModel(to, { from = 'micro-flash', sign = 1 } = {}) {
  mkdirSync(to, { recursive: true });
  const file = readFileSync(join(MODELS, from, 'model.safetensors'));
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + length).toString('utf8'));
  const kept = Object.keys(header).filter((name) => !/^__|^layers\.[1-9]|\.experts\.[2-9]\./.test(name));
  const [entries, pieces] = [{}, []];
  let at = 0;
  for (const name of kept) {
    const { dtype, shape, data_offsets: begin } = header[name];
    let bytes = Buffer.from(file.subarray(8 + length + begin[0], 8 + length + begin[1]));
    if (/ffn\.gate\.(?:weight|bias)$/.test(name)) {
      bytes = bytes.subarray(0, (2 * bytes.length) / shape[0]);
      shape[0] = 2;
    }
    if (name.endsWith('tid2eid'))
      for (let i = 0; i < bytes.length; i += 8) bytes.writeBigInt64LE(BigInt((i / 8) % 2), i);
    if (name === 'embed.weight' && sign < 0) for (let i = 3; i < bytes.length; i += 4) bytes[i] ^= 0x80;
    entries[name] = { dtype, shape, data_offsets: [at, at + bytes.length] };
    pieces.push(bytes);
    at += bytes.length;
  }
  const json = Buffer.from(JSON.stringify(entries));
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(join(to, 'model.safetensors'), Buffer.concat([head, json, ...pieces]));
  const config = JSON.parse(readFileSync(join(MODELS, from, 'config.json'), 'utf8'));
  const cut = { num_hidden_layers: 1, compress_ratios: config.compress_ratios.slice(0, 1), n_routed_experts: 2 };
  const hash = { num_hash_layers: Math.min(config.num_hash_layers, 1) };
  const small = { ...config, ...cut, ...hash, num_experts_per_tok: Math.min(config.num_experts_per_tok, 2) };
  writeFileSync(join(to, 'config.json'), `${JSON.stringify(small, null, 2)}\n`);
}
