import type { ModelConfig } from '@megamoe/checkpoint';
import { checkInteger, checkObject, checkOneOf, firstNonFinite } from '@megamoe/core';
import type { Backend, KvCache, RopeHandle, Step, StepRows, Tensor } from '@megamoe/ops';
import { attentionBlock } from './attention-block';
import { takeConfig } from './config';
import { exactLinear, type Inputs } from './dense';
import { moeBlock } from './moe-block';
import type { Place, Probe } from './probe';
import type { ModelWeights } from './weights';
import { createWorkspace, type Workspace } from './workspace';

/** Rows of hidden states that are looked at together. */
const HIDDEN_ROWS = 32;

/** Most bytes of logits that the host copies before it looks at them: they are in the processor's second cache then. */
const PIECE_BYTES = 2 ** 17;

/** What a forward step is made from. */
export interface ForwardOptions {
  readonly backend: Backend;
  readonly config: ModelConfig;
  readonly weights: ModelWeights;
  readonly inputs: Inputs;
  /** Most rows of a step. */
  readonly maxRows: number;
}

/** The options, each read once. */
function takeOptions(options: ForwardOptions): ForwardOptions {
  const fn = 'Forward';
  checkObject(fn, 'options', options);
  const { backend, config, weights, inputs, maxRows } = options;
  for (const [name, part] of Object.entries({ backend, weights, inputs })) checkObject(fn, name, part);
  const { activations, float } = inputs;
  checkOneOf(fn, 'inputs.activations', activations, ['nvfp4', 'float']);
  checkOneOf(fn, 'inputs.float', float, ['f32', 'bf16']);
  checkInteger(fn, 'maxRows', maxRows, 1, 65536);
  return { backend, config: takeConfig(fn, 'config', config), weights, inputs: { activations, float }, maxRows };
}

/**
 * One step of the model: embedding, layers, final norm, and the logits of the rows that are wanted. It writes to the cache beyond the
 * committed length of its sequences and changes nothing else, so a step that fails can be done again.
 */
export class Forward {
  /** Where the running step is. */
  readonly place: Place = { layer: -1, block: 'embed' };
  readonly step: Step;
  readonly ws: Workspace;
  readonly #ropes: { readonly main: RopeHandle; readonly compress: RopeHandle };
  readonly #context;
  /** What it has made on the backend. */
  readonly #made: { dispose(): void }[] = [];
  /** Hidden states on the host. */
  #hidden: Float32Array | undefined;
  /** Views of the step's wanted rows, by piece, and the tensor that they are of: a warm step makes none. */
  #views: Tensor[] = [];
  #viewed: Tensor | undefined;

  private readonly o: ForwardOptions;

  /** @throws KindError, ValueError for options that cannot be, and what making buffers throws */
  constructor(options: ForwardOptions) {
    this.o = takeOptions(options);
    const { backend, config: c, weights, inputs, maxRows } = this.o;
    const keep = <T extends object>(made: T): T => {
      if ('dispose' in made) this.#made.push(made as { dispose(): void });
      return made;
    };
    try {
      this.ws = keep(createWorkspace(backend, c, weights.nvfp4, inputs, maxRows));
      this.step = keep(backend.createStep(maxRows));
      this.#ropes = {
        main: keep(backend.createRope({ ropeDim: c.ropeHeadDim, theta: c.ropeTheta })),
        compress: keep(
          backend.createRope({
            ropeDim: c.ropeHeadDim,
            theta: c.compressRopeTheta,
            ...(c.yarn ? { yarn: c.yarn } : {}),
          }),
        ),
      };
    } catch (error) {
      this.dispose();
      throw error;
    }
    this.#context = {
      backend,
      config: c,
      ws: this.ws,
      step: this.step,
      inputs,
      cache: null as unknown as KvCache,
      probe: undefined as Probe | undefined,
    };
  }

  /** Runs all layers for the rows of a step; `ws.normed` then holds what the head takes. */
  run(rows: StepRows, cache: KvCache, probe: Probe | undefined): void {
    const { backend: b, config: c, weights } = this.o;
    const { ws, step, place } = this;
    const x = this.#context;
    x.cache = cache;
    x.probe = probe;
    const { hcMult: hc, hiddenSize: d, rmsNormEps: eps } = c;
    const n = rows.rows;
    place.layer = -1;
    place.block = 'embed';
    b.planStep(step, rows, cache, this.#ropes.compress);
    const { positions } = step;
    b.ropeTables({ rope: this.#ropes.main, positions, rows: n, cos: ws.ropeMain.cos, sin: ws.ropeMain.sin });
    b.ropeTables({
      rope: this.#ropes.compress,
      positions,
      rows: n,
      cos: ws.ropeCompress.cos,
      sin: ws.ropeCompress.sin,
    });
    b.embed({ table: weights.embed, ids: step.ids, rows: n, repeat: hc, out: ws.streams });
    probe?.between?.('embed', -1, ws.streams, n, [hc, d]);
    for (let i = 0; i < weights.layers.length; i++) {
      const w = weights.layers[i]!;
      place.layer = i;
      place.block = 'attention';
      this.#mix(w.attnHc, n);
      probe?.tensor?.('attn_hc_collapsed', i, ws.collapsed, n, [d]);
      probe?.tensor?.('attn_hc_post', i, ws.post, n, [hc]);
      probe?.tensor?.('attn_hc_comb', i, ws.comb, n, [hc, hc]);
      b.rmsNorm({ x: ws.collapsed, rows: n, d, weight: w.attnNorm, eps, out: ws.normed });
      probe?.between?.('attn_norm', i, ws.normed, n, [d]);
      attentionBlock(x, w.attention, i);
      if (w.attention.spec.ratio !== 0)
        probe?.attended?.(i, w.attention.indexer ? ws.selected : null, c.indexTopk, cache, rows);
      probe?.tensor?.('attn_out', i, ws.blockOut, n, [d]);
      this.#spread(n);
      probe?.between?.('attn_streams', i, ws.streams, n, [hc, d]);

      place.block = 'experts';
      this.#mix(w.ffnHc, n);
      probe?.between?.('ffn_hc_collapsed', i, ws.collapsed, n, [d]);
      probe?.between?.('ffn_hc_post', i, ws.post, n, [hc]);
      probe?.between?.('ffn_hc_comb', i, ws.comb, n, [hc, hc]);
      b.rmsNorm({ x: ws.collapsed, rows: n, d, weight: w.ffnNorm, eps, out: ws.normed });
      probe?.between?.('ffn_norm', i, ws.normed, n, [d]);
      moeBlock(x, w.moe, i);
      probe?.tensor?.('ffn_out', i, ws.blockOut, n, [d]);
      this.#spread(n);
      probe?.tensor?.('streams', i, ws.streams, n, [hc, d]);
    }
    place.layer = -1;
    place.block = 'head';
    const { fn, base, gain } = weights.headHc;
    const { hcEps } = c;
    b.hcHead({ streams: ws.streams, rows: n, hc, d, fn, base, gain, rmsNormEps: eps, hcEps, out: ws.collapsed });
    probe?.between?.('hc_head', -1, ws.collapsed, n, [d]);
    b.rmsNorm({ x: ws.collapsed, rows: n, d, weight: weights.norm, eps, out: ws.normed });
    probe?.tensor?.('final_norm', -1, ws.normed, n, [d]);
  }

  /**
   * Logits of the wanted rows of the step that ran, one [V] after the other: row i goes to `out[to(i)]` on. Waits for the backend. Returns
   * whether all of them are finite.
   */
  logits(rows: StepRows, out: Float32Array, to: (wanted: number) => number): boolean {
    const { backend: b, config: c, weights, inputs } = this.o;
    const { ws } = this;
    const v = c.vocabSize;
    const [atATime = 1] = ws.logits.shape;
    const most = b.logitsScan ? Math.max(1, Math.floor(PIECE_BYTES / (4 * v))) : atATime;
    let finite = true;
    for (let at = 0; at < rows.wanted; at += atATime) {
      const n = Math.min(atATime, rows.wanted - at);
      const index = this.#wantedRows(at, atATime);
      b.gatherRows({ x: ws.normed, d: c.hiddenSize, index, rows: n, out: ws.blockOut });
      exactLinear(b, weights.head, ws.blockOut, n, inputs, ws.logits);
      for (let i = 0; i < n;) {
        const from = i++;
        const first = to(at + from);
        while (i < n && i - from < most && to(at + i) === first + (i - from) * v) i++; // rows that stand together come together
        const count = (i - from) * v;
        b.download(ws.logits, from * v, count, out, first);
        finite &&= this.nonFiniteIn(out, first, first + count) < 0;
      }
    }
    return finite;
  }

  /** Rows whose logits are wanted, from `at` on: views of the step's tensor, which a backend may replace. */
  #wantedRows(at: number, atATime: number): Tensor {
    const { wantedRows } = this.step;
    if (at === 0) return wantedRows;
    if (this.#viewed !== wantedRows) this.#views = [];
    this.#viewed = wantedRows;
    return (this.#views[at / atATime] ??= wantedRows.view(at, Math.min(atATime, this.o.maxRows - at)));
  }

  /** Index of the first of `x[begin, end)`, on the host, that is NaN or infinite; -1 when there is none. */
  nonFiniteIn(x: Float32Array, begin: number, end: number): number {
    return this.o.backend.logitsScan?.firstNonFinite(x, begin, end) ?? firstNonFinite(x, begin, end);
  }

  /**
   * The first row of the step that ran whose hidden state, as the head takes it, is not finite, of rows `[row0, rows)`; -1 when there is
   * none. Waits for the backend.
   */
  firstNonFinite(row0: number, rows: number): number {
    const { backend, config } = this.o;
    const d = config.hiddenSize;
    const scratch = (this.#hidden ??= new Float32Array(HIDDEN_ROWS * d));
    for (let at = row0; at < rows; at += HIDDEN_ROWS) {
      const n = Math.min(HIDDEN_ROWS, rows - at);
      backend.download(this.ws.normed, at * d, n * d, scratch, 0);
      const bad = this.nonFiniteIn(scratch, 0, n * d);
      if (bad >= 0) return at + Math.floor(bad / d);
    }
    return -1;
  }

  /** Frees buffers and step. */
  dispose(): void {
    for (const made of this.#made.splice(0)) made.dispose();
  }

  /** Hyper-connection before a block: streams -> collapsed, with the coefficients kept for after it. */
  #mix({ fn, base, gain }: ModelWeights['headHc'], rows: number): void {
    const { backend: b, config: c } = this.o;
    const { streams, post, comb, collapsed } = this.ws;
    b.hcPre({
      streams,
      rows,
      hc: c.hcMult,
      d: c.hiddenSize,
      fn,
      base,
      gain,
      rmsNormEps: c.rmsNormEps,
      hcEps: c.hcEps,
      iters: c.hcSinkhornIters,
      post,
      comb,
      collapsed,
    });
  }

  /** And after it: the block's output back into the streams. */
  #spread(rows: number): void {
    const { backend: b, config: c } = this.o;
    const { streams, blockOut, post, comb } = this.ws;
    b.hcPost({ streams, blockOut, rows, hc: c.hcMult, d: c.hiddenSize, post, comb });
  }
}
