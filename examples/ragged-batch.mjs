/** Routes tokens to experts and assembles the ragged batch that a grouped GEMM takes: rows sorted by expert, no padding, end offsets. */
import { assignSlots, createRouter, expertOfRow } from '@megamoe/moe-router';
import { paddedSfOffsets } from '@megamoe/sf-layout';

const [tokens, numExperts, topk] = [5, 4, 2];
const router = createRouter({
  maxTokens: tokens,
  numExperts,
  topk,
  scoring: 'sqrtsoftplus',
  normTopkProb: true,
  routedScalingFactor: 1.5,
});
// One row of logits for each token. The bias pushes load to expert 3: it takes part in the choice, not in the weight.
const logits = Float32Array.from([9, 1, 0, 2, 8, 2, 1, 0, 1, 7, 0, 3, 6, 6, 0, 0, 0, 9, 0, 8]);
const bias = Float32Array.of(0, 0, 0, 0.5);
const topkIds = new Int32Array(tokens * topk);
const topkWeights = new Float32Array(tokens * topk);
router.route(logits, tokens, bias, topkIds, topkWeights);
for (let t = 0; t < tokens; t++) {
  const choices = [0, 1].map((j) => `expert ${topkIds[t * topk + j]} (${topkWeights[t * topk + j]?.toFixed(2)})`);
  console.log(`token ${t} goes to ${choices.join(' and ')}`);
}

// Slots: one for each (token, choice), sorted by expert. The GEMM's row s is token slotToken[s].
const expertOffsets = new Int32Array(numExperts);
const slotToken = new Int32Array(tokens * topk);
const tokenSlots = new Int32Array(tokens * topk);
assignSlots(topkIds, tokens, topk, numExperts, expertOffsets, slotToken, tokenSlots);
let start = 0;
expertOffsets.forEach((end, e) => {
  const rows = [...slotToken.subarray(start, end)].map((t) => `token ${t}`);
  console.log(`expert ${e}: rows ${start} to ${end}${rows.length > 0 ? `: ${rows.join(', ')}` : ', nothing to do'}`);
  start = end;
});

const sfOffsets = paddedSfOffsets(expertOffsets);
console.log(
  `expertOffsets ${expertOffsets.join(' ')}; sfOffsets ${sfOffsets.join(' ')}: only scale rows are padded, an empty expert has none`,
);
console.log(`row 4 belongs to expert ${expertOfRow(expertOffsets, 4)}`);

// Gather, "compute" and scatter: with experts that return their input, each token comes back times the sum of its weights.
const hidden = Float32Array.from({ length: tokens }, (_, t) => t + 1);
const rows = Float32Array.from(slotToken, (t) => hidden[t] ?? NaN);
const out = new Float32Array(tokens);
tokenSlots.forEach((slot, i) => {
  const token = Math.floor(i / topk);
  out[token] = (out[token] ?? NaN) + (topkWeights[i] ?? NaN) * (rows[slot] ?? NaN);
});
console.log(`combined: ${[...out].map((x) => x.toFixed(2)).join(' ')} (weights add up to 1.5)`);
