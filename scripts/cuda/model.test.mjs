/** Whole models on the GPU: text, logits beside Hugging Face's, every operation by the reference. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { checkpoint, cuda, MICRO, model, note, ROOT, TINY, verify } from './support.mjs';

/** The float32 and int32 tensors of a safetensors file. */
function readTensors(file) {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString('utf8'));
  delete header.__metadata__;
  return new Map(
    Object.entries(header).map(
      ([
        name,
        {
          dtype,
          data_offsets: [from, to],
        },
      ]) => {
        const part = bytes.buffer.slice(bytes.byteOffset + 8 + length + from, bytes.byteOffset + 8 + length + to);
        return [
          name,
          dtype === 'I32' ? new Int32Array(part) : dtype === 'F32' ? new Float32Array(part) : new Uint8Array(part),
        ];
      },
    ),
  );
}

const maxAbs = (a, b) => a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), 0);

async function logitsOf(m, ids, cuts) {
  const sequence = m.createSequence({ maxTokens: ids.length });
  const out = new Float32Array(ids.length * m.config.vocabSize);
  let at = 0;
  for (const n of cuts) {
    out.set(m.forward([{ sequence, tokenIds: ids.slice(at, at + n) }], { logits: 'all' }), at * m.config.vocabSize);
    at += n;
  }
  sequence.dispose();
  return out;
}

describe('tiny', () => {
  for (const activations of ['nvfp4', 'float'])
    it(`the capital of France, activations ${activations}`, async () => {
      const m = await model.loadModel(TINY, { backend: 'cuda', activations });
      const text = await textOf(m, 'The capital of France is');
      note(`cuda ${activations}: ${JSON.stringify(text)}`);
      assert.match(text, /^ Paris/);
      const host = await model.loadModel(TINY, { backend: 'cpu', activations });
      assert.equal(await textOf(host, 'The capital of France is'), text);
      m.dispose();
      host.dispose();
    });

  it('logits beside the CPU, and the same bits however a prompt is cut and whoever is beside', async () => {
    const m = await model.loadModel(TINY, { backend: 'cuda' });
    const host = await model.loadModel(TINY, { backend: 'cpu' });
    const ids = [
      ...m.tokenizer.encode('The capital of France is Paris, and the capital of Italy is Rome. '.repeat(6)),
    ].slice(0, 90);
    const whole = await logitsOf(m, ids, [ids.length]);
    const want = await logitsOf(host, ids, [ids.length]);
    note(`tiny W4A4: logits differ by at most ${maxAbs(whole, want).toExponential(2)} from the CPU`);
    const cut = await logitsOf(m, ids, [1, 30, 1, 1, 20, ids.length - 53]);
    assert.equal(maxAbs(cut, whole), 0, 'cut');
    const sequences = [0, 1, 2, 3].map(() => m.createSequence({ maxTokens: 100 }));
    const v = m.config.vocabSize;
    const batch = m.forward(
      sequences.map((sequence, i) => ({ sequence, tokenIds: ids.slice(0, 20 + 7 * i) })),
      { logits: 'last' },
    );
    for (let i = 0; i < 4; i++)
      assert.equal(
        maxAbs(batch.subarray(i * v, (i + 1) * v), whole.subarray((19 + 7 * i) * v, (20 + 7 * i) * v)),
        0,
        `sequence ${i}`,
      );
    sequences.forEach((s) => s.dispose());
    m.dispose();
    host.dispose();
  });
});

/** Text of a greedy generation. */
async function textOf(m, prompt, maxTokens = 8) {
  let text = '';
  for await (const chunk of m.generate({ prompt, maxTokens })) text += chunk.text;
  return text;
}

const GOLDENS = join(ROOT, 'packages', 'model', 'test', 'goldens');

describe('the trained model beside Hugging Face', () => {
  const { prompts } = JSON.parse(readFileSync(join(GOLDENS, 'tiny-prompts.json'), 'utf8'));
  const golden = readTensors(join(GOLDENS, 'tiny-logits.safetensors'));
  it('w4a16: last logits within 1e-3', async () => {
    const m = await model.loadModel(TINY, { backend: 'cuda', activations: 'float' });
    let worst = 0;
    for (const { id, input_ids: ids } of prompts) {
      const all = await logitsOf(m, ids, [ids.length]);
      const off = maxAbs(all.subarray(all.length - m.config.vocabSize), golden.get(`w4a16.${id}.last_logits`));
      worst = Math.max(worst, off);
    }
    note(
      `tiny W4A16: last logits of ${prompts.length} prompts differ by at most ${worst.toExponential(2)} from Hugging Face`,
    );
    assert.ok(worst < 1e-3, `off by ${worst}`);
    m.dispose();
  });
  it('greedy text where the gap allows', async () => {
    const m = await model.loadModel(TINY, { backend: 'cuda' });
    let compared = 0;
    for (const { input_ids: tokenIds, greedy_ids, gap } of prompts) {
      const ids = [];
      for await (const chunk of m.generate({ tokenIds, maxTokens: greedy_ids.length })) ids.push(chunk.tokenId);
      const sure = gap.findIndex((g) => g < 0.05);
      const n = sure < 0 ? greedy_ids.length : sure;
      assert.deepEqual(ids.slice(0, n), greedy_ids.slice(0, n));
      compared += n;
    }
    note(`greedy text: ${compared} tokens of ${prompts.length} prompts are those of Hugging Face`);
    m.dispose();
  });
});

describe('micro models beside Hugging Face', () => {
  for (const dir of MICRO)
    for (const cuts of [undefined, 'steps'])
      it(`${dir.split('/').at(-1)}${cuts ? ', decoding' : ''}`, async () => {
        const golden = readTensors(join(dir, 'golden.safetensors'));
        const m = await model.loadModel(dir, { backend: 'cuda' });
        const ids = [...golden.get('input_ids')];
        const first = ids.length - (cuts ? 7 : 0);
        const got = await logitsOf(m, ids, [first, ...Array.from({ length: ids.length - first }, () => 1)]);
        const want = golden.get('logits');
        if (want !== undefined && want.length === got.length) {
          const worst = maxAbs(got, want);
          note(
            `${dir.split('/').at(-1)}: logits differ by at most ${worst.toExponential(2)} from Hugging Face's float32`,
          );
          assert.ok(worst < 1e-3, `logits are off by ${worst}`);
        }
        m.dispose();
      });
});

describe('every operation, by the reference', () => {
  for (const dir of [TINY, ...MICRO])
    for (const options of [{}, { activations: 'float' }, { floatInputs: 'bf16' }])
      it(`${dir.split('/').at(-1)} ${JSON.stringify(options)}`, async () => {
        const source = checkpoint.openCheckpoint(dir);
        const backend = cuda.createCudaBackend();
        const tokenIds = Array.from({ length: 150 }, (_, i) => (i * 37 + 11) % source.config.vocabSize);
        const result = await verify.verifyBackend({
          source,
          backend,
          tokenIds,
          decode: 3,
          maxChunk: 96,
          keepGoing: true,
          ...options,
        });
        for (const f of result.findings.slice(0, 8)) note(verify.findingText(f));
        backend.dispose();
        source.close();
        assert.equal(result.findings.length, 0, `${result.findings.length} findings`);
        note(
          `${dir.split('/').at(-1)} ${JSON.stringify(options)}: ${result.ops.length} operations of layers are within their bounds`,
        );
      });
});
