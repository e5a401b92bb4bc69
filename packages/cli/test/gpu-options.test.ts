/** Options of the GPU: every command that runs a model takes them, and says no where they would do nothing. */
import { expect, it } from 'vitest';
import { cli, MICRO, TINY } from './support';

const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  generate: ['--model', TINY],
  logits: ['--model', MICRO, '--token-ids', '1', '--out', 'logits.safetensors'],
  verify: ['--model', MICRO, '--token-ids', '1'],
  serve: ['--model', TINY, '--port', '0', '--in-process'],
};

it.each(Object.entries(COMMANDS))('megamoe %s', async (command, argv) => {
  const refused = async (says: string, ...more: string[]): Promise<void> => {
    const { code, err } = await cli(command, ...argv, '--backend', 'js', ...more);
    expect([code, err]).toEqual([1, expect.stringContaining(says)]);
  };
  await refused('"gpuMath" is for backend cuda, got fast with backend js', '--gpu-math', 'fast');
  await refused('"gpuMath" is for backend cuda, got exact with backend js', '--gpu-math', 'exact');
  await refused(
    "kv: 'bf16' needs the cuda backend; this is js (asked for), which keeps keys in float32",
    '--kv',
    'bf16',
  );
  await refused('"device" is for backend cuda, got 0 with backend js', '--device', '0');
  const { code, err } = await cli(command, ...argv, '--kv', 'f16');
  expect([code, err]).toEqual([2, expect.stringContaining('Allowed choices are f32, bf16')]);
});
