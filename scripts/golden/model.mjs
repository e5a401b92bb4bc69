/** What of the goldens is about a model: logits, likelihoods, greedy texts and the trace of one engine in one precision. */
import { join } from 'node:path';
import { loadModel, Trace } from '../../packages/model/dist/index.js';
import { cosine, Goldens, maxAbs, nll } from './compare.mjs';

/** Independent float32 implementations are 1e-5 apart; the largest logits are near 19. */
const BOUND = 2e-5;
/**
 * In W4A4 an activation next to a rounding boundary may fall on its other side, and moves its token. In the last row cosines stay above 0.99998; among
 * eight rows of a story two right implementations (js, C++, Hugging Face, the float64 reference: any two of them) are up to 0.9996 apart.
 */
const COSINE = { last: 0.9999, tail: 0.999 };
/** Below this gap between the two best logits right implementations may choose differently. */
const GAP = 0.05;
/** Of the trace: values reach 6, logits are sums of them. */
const TRACE_BOUND = 2e-5;

/** Runs every prompt and compares all that the golden has of it; what the prediction layer says (`ahead_*`) is not computed here. */
export async function checkModel({ dir, golden, prompts, precision, engine, options, report }) {
  const goldens = new Goldens(join(dir, `logits_${precision}.safetensors`));
  const model = await loadModel(join(dir, precision === 'bf16' ? 'tiny-bf16' : 'tiny-nvfp4'), {
    ...options,
    activations: precision === 'w4a4' ? 'nvfp4' : 'float',
  });
  const v = model.config.vocabSize;
  for (const { id, input_ids: tokenIds } of prompts) {
    const sequence = model.createSequence({ maxTokens: tokenIds.length });
    const trace = precision === 'bf16' && id === golden.trace ? new Trace() : undefined;
    const logits = model.forward([{ sequence, tokenIds }], { logits: 'all', ...(trace ? { trace } : {}) });
    const say = (what, value, bound, ok, note = '') =>
      report({ engine, what: `${precision} ${what}`, prompt: id, value, bound, ok, note });
    const [last, tail, likely] = ['last_logits', 'tail_logits', 'nll'].map((name) => goldens.get(`${id}.${name}`));
    for (const [what, got, want] of [
      ['last', logits.subarray(logits.length - v), last],
      ['tail', logits.subarray(logits.length - tail.length), tail],
    ]) {
      const [apart, close] = [maxAbs(got, want), cosine(got, want)];
      const ok = apart < BOUND || (precision === 'w4a4' && close > COSINE[what]);
      const bound = precision === 'w4a4' ? `< ${BOUND}, or cosine > ${COSINE[what]}` : `< ${BOUND}`;
      say(`${what} logits`, apart, bound, ok, `cosine ${close.toFixed(7)}`);
    }
    const own = nll(logits, tokenIds);
    if (precision === 'w4a4') {
      const mean = Math.abs(own.reduce((sum, x, i) => sum + x - likely[i], 0) / own.length);
      say('mean nll', mean, '< 0.001', mean < 1e-3, `largest ${maxAbs(own, likely).toExponential(2)}`);
    } else {
      const apart = maxAbs(own, likely);
      say('nll of every token', apart, `< ${BOUND}`, apart < BOUND);
    }
    if (trace) checkTrace(dir, trace, say);
    if (precision === 'bf16')
      await checkGreedy(
        model,
        golden.bf16.find((r) => r.id === id),
        tokenIds,
        say,
      );
  }
  model.dispose();
}

/** The text that follows, token by token, until the golden itself is not sure. */
async function checkGreedy(model, { greedy_ids: want, top1_top2_gap: gaps }, tokenIds, say) {
  const ids = [];
  for await (const chunk of model.generate({ tokenIds, maxTokens: want.length })) ids.push(chunk.tokenId);
  const unsure = gaps.findIndex((gap) => gap < GAP);
  const sure = unsure < 0 ? want.length : unsure;
  const wrong = want.slice(0, sure).filter((id, i) => ids[i] !== id).length;
  say('greedy text', wrong, `tokens of ${sure} that differ before a gap below ${GAP} or the end`, wrong === 0);
}

function checkTrace(dir, trace, say) {
  const want = new Goldens(join(dir, 'trace.safetensors'));
  const got = trace.tensors();
  const positions = want.get('positions');
  let [worst, where, sets, wrong] = [0, '', 0, 0];
  for (const name of want.names) {
    if (name === 'positions' || name.endsWith('topk_weights')) continue;
    const { shape, data } = got.get(name);
    const golden = want.get(name);
    if (name.endsWith('visible') || name.endsWith('topk_ids')) {
      sets++;
      if (name.endsWith('visible') ? maxAbs(data, golden) !== 0 : !sameSets(data, golden, shape[1])) wrong++;
      continue;
    }
    const row = golden.length / want.shape(name)[0];
    const ours = name.endsWith('compressed_kv')
      ? data
      : Float32Array.from({ length: golden.length }, (_, i) => data[positions[Math.floor(i / row)] * row + (i % row)]);
    const apart = maxAbs(ours, golden);
    if (!(apart <= worst)) [worst, where] = [apart, name];
  }
  say('trace', worst, `< ${TRACE_BOUND}`, worst < TRACE_BOUND, where);
  say('trace, chosen sets', wrong, `of ${sets} differ`, wrong === 0);
}

/** Whether each row has the same experts, in any order. */
function sameSets(a, b, k) {
  const rows = (ids) =>
    Array.from({ length: ids.length / k }, (_, t) => [...ids.subarray(t * k, (t + 1) * k)].sort().join());
  return a.length === b.length && rows(a).join(';') === rows(b).join(';');
}
