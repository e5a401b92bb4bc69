import { SafetensorsFile } from '@megamoe/checkpoint';
import { expectBytes } from '@megamoe/testkit';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli, MICRO, temporaryFolder } from './support';

const dir = temporaryFolder();
const at = (name: string): string => join(dir, name);

function f32(path: string, name: string): Float32Array {
  const file = new SafetensorsFile(path);
  const bytes = file.read(name);
  file.close();
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

/** A copy of the micro model with a changed config. */
function changed(name: string, patch: Record<string, unknown>): string {
  const to = at(name);
  mkdirSync(to);
  cpSync(join(MICRO, 'model.safetensors'), join(to, 'model.safetensors'));
  const config = JSON.parse(readFileSync(join(MICRO, 'config.json'), 'utf8')) as object;
  writeFileSync(join(to, 'config.json'), JSON.stringify({ ...config, ...patch }));
  return to;
}

describe('megamoe logits', () => {
  const ids = Array.from({ length: 150 }, (_, i) => (i * 53) % 160);

  it('gives the same bits as one prefill, in chunks and step by step', async () => {
    writeFileSync(at('ids.json'), JSON.stringify(ids));
    const base = ['logits', '--model', MICRO, '--token-ids', at('ids.json'), '--out'];
    expect((await cli(...base, at('a.safetensors'))).code).toBe(0);
    expect((await cli(...base, at('b.safetensors'), '--step-from', '7')).code).toBe(0);
    expect((await cli(...base, at('c.safetensors'), '--max-chunk', '11')).code).toBe(0);
    const want = f32(at('a.safetensors'), 'logits');
    expect(want.length).toBe(150 * 160);
    expectBytes(f32(at('b.safetensors'), 'logits'), want, [150, 160]);
    expectBytes(f32(at('c.safetensors'), 'logits'), want, [150, 160]);
  });
  it('adds the tensors of every layer with --trace', async () => {
    const { code } = await cli(
      'logits',
      '--model',
      MICRO,
      '--token-ids',
      ids.join(),
      '--out',
      at('t.safetensors'),
      '--trace',
      '--step-from',
      '130',
    );
    expect(code).toBe(0);
    const ours = new SafetensorsFile(at('t.safetensors'));
    const golden = new SafetensorsFile(join(MICRO, 'golden.safetensors'));
    expect([...ours.tensors.keys()].sort()).toEqual([...golden.tensors.keys()].sort());
    expect(ours.tensors.get('layers.2.visible')?.shape).toEqual([150, 37]);
    expect(ours.tensors.get('layers.3.compressed_kv')?.shape).toEqual([1, 32]);
    ours.close();
    golden.close();
  });
  it('takes { "input_ids": [...] }', async () => {
    writeFileSync(at('object.json'), JSON.stringify({ input_ids: [1, 2, 3] }));
    expect(
      (await cli('logits', '--model', MICRO, '--token-ids', at('object.json'), '--out', at('o.safetensors'))).code,
    ).toBe(0);
    expect(f32(at('o.safetensors'), 'logits').length).toBe(3 * 160);
  });

  it.each([
    ['an id out of range', ['--token-ids', '0,160'], 1, /token id 160 at index 1 .*160/],
    ['a negative id', ['--token-ids', '-1'], 1, /token id -1/],
    ['no list and no file', ['--token-ids', 'one,two'], 2, /no file "one,two"/],
    ['a step past the end', ['--token-ids', '1,2', '--step-from', '3'], 2, /past the 2 tokens/],
    ['no tokens', ['--token-ids', 'EMPTY'], 2, /is empty/],
    ['a file that is no JSON', ['--token-ids', 'BROKEN'], 2, /is no JSON/],
    ['fractions', ['--token-ids', 'FRACTIONS'], 2, /list of integers/],
    ['too many tokens', ['--token-ids', 'LONG'], 1, /0 \+ 4097 tokens, the sequence holds maxTokens = 4096/],
  ])('%s', async (_, argv, want, message) => {
    writeFileSync(at('EMPTY'), '[]');
    writeFileSync(at('BROKEN'), '[1,');
    writeFileSync(at('FRACTIONS'), '[0.5]');
    writeFileSync(at('LONG'), JSON.stringify(Array.from({ length: 4097 }, () => 1)));
    const args = argv.map((a) => (/^[A-Z]+$/.test(a) ? at(a) : a));
    const before = readdirSync(dir).sort();
    const { code, err } = await cli('logits', '--model', MICRO, '--out', at('never.safetensors'), ...args);
    expect(code).toBe(want);
    expect(err).toMatch(message);
    expect(readdirSync(dir).sort()).toEqual(before); // nothing written, nothing left
  });
  it('says when the output folder is missing', async () => {
    const { code, err } = await cli(
      'logits',
      '--model',
      MICRO,
      '--token-ids',
      '1',
      '--out',
      at('no/where.safetensors'),
    );
    expect([code, err]).toEqual([2, expect.stringContaining(`There is no folder ${at('no')}.`)]);
  });

  it.each([
    ['deepseek_v41', { model_type: 'deepseek_v41' }, /deepseek_v41/],
    ['an unknown ratio', { compress_ratios: [0, 0, 4, 64, 4, 128] }, /64/],
    ['more experts per token than experts', { num_experts_per_tok: 9 }, /num_experts_per_tok|topk/i],
    ['a layer that is not there', { num_hidden_layers: 7, compress_ratios: [0, 0, 4, 128, 4, 128, 0] }, /layers\.6/],
    ['another width', { hidden_size: 128 }, /expected .*found/],
  ])('a checkpoint with %s is refused', async (name, patch, message) => {
    const { code, err } = await cli(
      'logits',
      '--model',
      changed(name, patch),
      '--token-ids',
      '1',
      '--out',
      at('never.safetensors'),
    );
    expect(code).toBe(1);
    expect(err).toMatch(message);
    expect(existsSync(at('never.safetensors'))).toBe(false);
  });
  it('ratios beyond the last layer belong to draft layers', async () => {
    const model = changed('tail', { compress_ratios: [0, 0, 4, 128, 4, 128, 0, 0] });
    expect((await cli('logits', '--model', model, '--token-ids', '1', '--out', at('tail.safetensors'))).code).toBe(0);
  });
});
