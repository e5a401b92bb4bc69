/** Arguments of wrong kinds: what is verified, and findings that are no findings. */
import { createBackend } from '@megamoe/model';
import { expect, it } from 'vitest';
import { errorText, findingText, shareOf, short, verdictText, verifyBackend, type Finding } from '../src/index';
import { MICRO_CONFIG } from './support';

const never = (v: unknown): never => v as never;
const finding: Finding = {
  ...{ layer: 1, op: 'attn.wq_a', operation: null, step: { kind: 'decode', position: 5, tokens: 1 }, output: 'out' },
  ...{ metric: 'ulp', error: 3, bound: 1, reason: 'why', worst: { index: [0, 2], got: 1, want: 2 } },
};
const result = { findings: [finding], ops: [], coverage: never({ promptTokens: 3, decodedTokens: 1 }) };

it.each<[string, () => unknown]>([
  ['short: "x" must be a number or null, got Object', () => short(never({}))],
  ['shareOf: takes two numbers, got 1 and x', () => shareOf(1, never('x'))],
  ['errorText: "o" must be an object, got null', () => errorText(never(null))],
  ['errorText: "metric" must be one of', () => errorText(never({ metric: 'toString', error: 1 }))],
  ['findingText: "finding" must be an object, got undefined', () => findingText(never(undefined))],
  ['findingText: "step" must be an object, got null', () => findingText({ ...finding, step: never(null) })],
  ['findingText: "bound" must be a number, got Object', () => findingText({ ...finding, bound: never({}) })],
  ['findingText: "worst.index" must be a list, got 3', () => findingText({ ...finding, worst: never({ index: 3 }) })],
  ['verdictText: "findings" must be a list, got undefined', () => verdictText(never({}), 'cpu')],
  [
    'verdictText: "coverage" must be an object, got null',
    () => verdictText({ ...result, coverage: never(null) }, 'cpu'),
  ],
  ['verdictText: "backend" must be a string, got 3', () => verdictText(result, never(3))],
])('%s', (message, call) => expect(call).toThrow(message));

it('a finding is read once', () => {
  const want = findingText(finding);
  let asked = 0;
  const fickle = Object.defineProperty({ ...finding }, 'worst', {
    get: () => (asked++ === 0 ? finding.worst : null),
    enumerable: true,
  });
  expect(findingText(fickle)).toBe(want);
});

it('verifyBackend names what is wrong before any work', async () => {
  const backend = createBackend({ backend: 'js' });
  const nothing = (): never => never(undefined);
  const source = { config: MICRO_CONFIG, linear: nothing, expert: nothing, vector: nothing, ints: nothing };
  const run = (o: object): Promise<unknown> => verifyBackend(never({ source, backend, tokenIds: [1], ...o }));
  await expect(verifyBackend(never(undefined))).rejects.toThrow('verifyBackend: "options" must be an object');
  for (const [o, text] of [
    [{ backend: null }, '"backend" must be an object, got null'],
    [{ source: {} }, '"source.linear" must be a function, got undefined'],
    [{ source: { ...source, config: 3 } }, '"source.config" must be an object, got number'],
    [{ tokenIds: 3 }, '"tokenIds" must be an array of token ids, got 3'],
    [{ tokenIds: [160] }, '"tokenIds" must hold token ids in [0, 160), got 160 at index 0'],
    [{ dumpDir: 3 }, '"dumpDir" must be a string, got 3'],
    [{ onProgress: 3 }, '"onProgress" must be a function, got 3'],
    [{ signal: {} }, '"signal" must be an AbortSignal, got Object'],
  ] as const)
    await expect(run(o)).rejects.toThrow(`verifyBackend: ${text}`);
});
