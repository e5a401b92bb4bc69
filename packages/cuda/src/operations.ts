import { checkMultiple, ShapeError, UnsupportedError, ValueError } from '@megamoe/core';
import { visibleEntries, type Operations, type OpArgs, type Tensor, type Tensors, type W4a4Math } from '@megamoe/ops';
import type { CudaAddon } from './addon';
import { KV_DTYPES, type DeviceCache, type DevicePages } from './cache';
import { makeDeviceChecks } from './checks';
import type { Device } from './device';
import type { DeviceCompressor, DeviceRope, DeviceRouter } from './handles';
import type { DeviceStaged } from './staged';
import type { DeviceStep } from './step';
import { DeviceTensor } from './tensor';
import type { DeviceExperts, DeviceLinear } from './weights';

type Args<N extends keyof Operations<Tensors>> = OpArgs<N, Tensors>;

/** A checked cache and step. */
interface Attended {
  readonly cache: DeviceCache;
  readonly step: DeviceStep;
}

/** Throws unless the step is planned for the cache. Returns whether it has rows. */
function planned(fn: string, { cache, step }: Attended): boolean {
  if (step.cache === cache) return step.rows > 0;
  const what = step.cache === null ? 'has not been planned' : 'is planned for another cache';
  throw new ValueError(`${fn}: "step" ${what}: call planStep with this cache first`);
}

function checkWidth(fn: string, arg: string, got: number, layer: number, formula: string, want: number): void {
  if (got === want) return;
  throw new ShapeError(`${fn}: "${arg}" must be ${formula} = ${want} of layer ${layer}, got ${got}`);
}

function checkLength(fn: string, arg: string, { length }: Tensor, formula: string, want: number): void {
  if (length !== want) throw new ShapeError(`${fn}: "${arg}" must have length ${formula} = ${want}, got ${length}`);
}

/** Address of keys and how they are held: as the addon takes them; zeros where there are none. */
const keysOf = (pages: DevicePages | undefined): readonly [number, number] =>
  pages === undefined ? [0, 0] : [pages.address, KV_DTYPES.indexOf(pages.dtype)];

const called = (name: string): string => (name === '' ? '' : ` (${name})`);

/** What both stagings take: whole blocks for nvfp4, no scales for the others. */
function checkStaging(fn: string, a: Args<'stage'> | Args<'swigluStage'>, arg: string, k: number): void {
  const { inputs, globalDecodeScale } = a;
  if (inputs === 'nvfp4') checkMultiple(fn, arg, k, 16);
  else if (globalDecodeScale !== null)
    throw new ValueError(`${fn}: "globalDecodeScale" must be null for inputs "${inputs}": they are not scaled`);
}

/** Whether what is staged can be multiplied with the weights. */
function checkProduct(
  w: DeviceExperts,
  staged: DeviceStaged,
  { slots, alpha, expertOffsets }: Args<'groupedGemm'>,
): void {
  const fn = 'groupedGemm';
  checkLength(fn, 'expertOffsets', expertOffsets, 'numExperts', w.numExperts);
  if (staged.k === 0) throw new ValueError(`${fn}: "staged" is empty: stage rows into it first`);
  if (staged.k !== w.k)
    throw new ShapeError(
      `${fn}: "staged" must hold rows of w.k = ${w.k} elements, got rows of ${staged.k}${called(w.name)}`,
    );
  if (slots > staged.slots)
    throw new ValueError(`${fn}: "slots" must be at most the ${staged.slots} slots of "staged", got ${slots}`);
  if (staged.inputs === 'nvfp4' && w.format !== 'nvfp4')
    throw new ValueError(`${fn}: "w" must hold nvfp4 weights for inputs "nvfp4", got ${w.format}${called(w.name)}`);
  if ((w.format === 'nvfp4') === (alpha !== null)) return;
  if (alpha !== null) throw new ValueError(`${fn}: "alpha" must be null for ${w.format} weights`);
  throw new ValueError(`${fn}: "alpha" must be a tensor for nvfp4 weights, got null`);
}

/** The operations of the list on tensors of one GPU: they check, launch and return. `math` is that of products of quantized rows. */
export function createOperations(addon: CudaAddon, device: Device, math: W4a4Math): Operations<Tensors> {
  const isFast = Number(math === 'fast');
  const check = makeDeviceChecks(device) as unknown as Readonly<Record<string, (a: object) => void>>;
  const at = (x: Tensor | null): number => (x === null ? 0 : DeviceTensor.addressOf('cuda', 'tensor', x, device));
  /** Arguments after the checks that follow from the list. */
  const checked = <N extends keyof Operations<Tensors>>(name: N, a: Args<N>): Args<N> => {
    check[name]!(a);
    return a;
  };
  /** Where staging writes to: globalDecodeScale, codes, sf, rowScale, floats. */
  const target = (fn: string, a: Args<'stage'> | Args<'swigluStage'>, k: number): readonly number[] => {
    const staged = a.staged as DeviceStaged;
    const { codes, sf, rowScale, floats } = staged.empty(fn, a.slots, k, a.inputs);
    return a.inputs === 'nvfp4' ? [at(a.globalDecodeScale), codes, sf, rowScale, 0] : [0, 0, 0, 0, floats];
  };

  return {
    embed(a) {
      const { table, ids, rows, repeat, out } = checked('embed', a);
      if (table.groups !== 1) throw new ShapeError(`embed: "table" must have one group, got ${table.groups}`);
      if (table.dtype === 'nvfp4') throw new ValueError('embed: "table" must be one of fp8, bf16, f32, got nvfp4');
      if (rows > 0) device.run('embed', addon.embed, ...(table as DeviceLinear).native, at(ids), rows, repeat, at(out));
    },
    rmsNorm(a) {
      const { x, rows, d, weight, eps, out } = checked('rmsNorm', a);
      if (rows > 0) device.run('rmsNorm', addon.rmsNorm, at(x), rows, d, at(weight), eps, at(out));
    },
    linear(a) {
      const { w: given, x, rows, inputs, out } = checked('linear', a);
      const w = given as DeviceLinear;
      if (inputs === 'nvfp4' && w.inputGlobalDecodeScale === null)
        throw new ValueError(
          `linear: "w" must be nvfp4 with an inputGlobalDecodeScale for inputs "nvfp4", got ${w.dtype} without one${called(w.name)}`,
        );
      if (rows === 0) return;
      if (inputs === 'nvfp4') {
        const scale = w.inputGlobalDecodeScale === 'row' ? 0 : w.inputGlobalDecodeScale!;
        device.run('linear', addon.linearW4A4, ...w.native, at(x), rows, w.alphaW4a4, w.parts, scale, isFast, at(out));
      } else {
        const rounded = Number(inputs === 'bf16');
        device.run('linear', addon.linear, ...w.native, at(x), rows, rounded, w.alpha, w.parts, at(out));
      }
    },
    swiglu(a) {
      const { gateUp, rows, i, limit, out } = checked('swiglu', a);
      if (rows > 0) device.run('swiglu', addon.swiglu, at(gateUp), rows, i, Math.fround(limit), at(out));
    },
    add(a) {
      const { out, x, n } = checked('add', a);
      if (n > 0) device.run('add', addon.add, at(out), at(x), n);
    },
    gatherRows(a) {
      const { x, d, index, rows, out } = checked('gatherRows', a);
      if (rows > 0)
        device.run('gatherRows', addon.gatherRows, at(x), Math.floor(x.length / d), d, at(index), rows, at(out));
    },
    hcPre(a) {
      const { streams, rows, hc, d, fn, base, gain, rmsNormEps, hcEps, iters, post, comb, collapsed } = checked(
        'hcPre',
        a,
      );
      if (rows === 0) return;
      const input = [at(streams), rows, hc, d, at(fn), at(base), at(gain), rmsNormEps, hcEps];
      device.run('hcPre', addon.hcPre, ...input, iters, at(post), at(comb), at(collapsed));
    },
    hcPost(a) {
      const { streams, blockOut, rows, hc, d, post, comb } = checked('hcPost', a);
      if (rows > 0) device.run('hcPost', addon.hcPost, at(streams), at(blockOut), rows, hc, d, at(post), at(comb));
    },
    hcHead(a) {
      const { streams, rows, hc, d, fn, base, gain, rmsNormEps, hcEps, out } = checked('hcHead', a);
      if (rows === 0) return;
      const input = [at(streams), rows, hc, d, at(fn), at(base), at(gain), rmsNormEps, hcEps];
      device.run('hcHead', addon.hcHead, ...input, at(out));
    },
    route(a) {
      const { router: given, logits, rows, bias, tokenIds, tid2eid, topkIds, topkWeights } = checked('route', a);
      const router = given as DeviceRouter;
      if (rows > router.maxTokens)
        throw new ShapeError(`route: "rows" must be at most maxTokens = ${router.maxTokens}, got ${rows}`);
      const hashed = tid2eid !== null && tokenIds !== null;
      if (bias !== null && !hashed) checkLength('route', 'bias', bias, 'E', router.numExperts);
      if (hashed) checkMultiple('route', 'tid2eid.length', tid2eid.length, router.topk);
      if (rows === 0) return;
      const table = hashed ? [at(tokenIds), at(tid2eid), tid2eid.length / router.topk] : [0, 0, 0];
      const biased = hashed ? 0 : at(bias);
      device.run(
        'route',
        addon.route,
        ...router.native,
        at(logits),
        rows,
        biased,
        ...table,
        at(topkIds),
        at(topkWeights),
      );
    },
    assignSlots(a) {
      const { topkIds, rows, topk, numExperts, expertOffsets, slotToken, tokenSlots } = checked('assignSlots', a);
      if (numExperts > 8192)
        throw new UnsupportedError(`assignSlots: "numExperts" must be at most 8192 on cuda, got ${numExperts}`);
      const outs = [at(expertOffsets), at(slotToken), at(tokenSlots)];
      device.run('assignSlots', addon.assignSlots, at(topkIds), rows, topk, numExperts, ...outs);
    },
    stage(a) {
      const { x, k, slotToken, slots, expertOffsets, inputs, globalDecodeScale } = checked('stage', a);
      checkStaging('stage', a, 'k', k);
      const to = target('stage', a, k);
      const from = [at(x), Math.floor(x.length / k), k, at(slotToken)];
      if (slots > 0) device.run('stage', addon.stage, ...from, at(expertOffsets), expertOffsets.length, slots, ...to);
      (a.staged as DeviceStaged).fill(slots, k, inputs, globalDecodeScale === null);
    },
    swigluStage(a) {
      const { gateUp, slots, i, limit, expertOffsets, inputs, globalDecodeScale } = checked('swigluStage', a);
      checkStaging('swigluStage', a, 'i', i);
      const to = target('swigluStage', a, i);
      const from = [at(gateUp), i, Math.fround(limit)];
      if (slots > 0)
        device.run('swigluStage', addon.swigluStage, ...from, at(expertOffsets), expertOffsets.length, slots, ...to);
      (a.staged as DeviceStaged).fill(slots, i, inputs, globalDecodeScale === null);
    },
    groupedGemm(a) {
      const { slots, expertOffsets, alpha, out } = checked('groupedGemm', a);
      const [w, staged] = [a.w as DeviceExperts, a.staged as DeviceStaged];
      checkProduct(w, staged, a);
      if (slots === 0) return;
      const { codes, sf, rowScale, floats } = staged.addresses;
      const common = [...w.native, w.parts, slots, at(expertOffsets), at(alpha)];
      if (staged.inputs === 'nvfp4') {
        const scale = staged.ownScales ? rowScale : 0;
        device.run('groupedGemm', addon.groupedW4A4, ...common, codes, sf, scale, isFast, at(out));
      } else {
        device.run('groupedGemm', addon.groupedFloat, ...common, floats, Number(staged.inputs === 'bf16'), at(out));
      }
    },
    scatterExperts(a) {
      const { y, d, tokenSlots, topkWeights, rows, topk, out } = checked('scatterExperts', a);
      if (rows === 0) return;
      const from = [at(y), Math.floor(y.length / d), d, at(tokenSlots), at(topkWeights)];
      device.run('scatterExperts', addon.scatterExperts, ...from, rows, topk, at(out));
    },
    ropeTables(a) {
      const { rope, positions, rows, cos, sin } = checked('ropeTables', a);
      const { address, ropeDim } = rope as DeviceRope;
      if (rows > 0)
        device.run('ropeTables', addon.ropeTables, address, ropeDim / 2, at(positions), rows, at(cos), at(sin));
    },
    rope(a) {
      const { x, rows, heads, d, ropeDim, cos, sin, inverse } = checked('rope', a);
      if (rows > 0 && ropeDim > 0)
        device.run('rope', addon.rope, at(x), rows, heads, d, ropeDim, at(cos), at(sin), Number(inverse));
    },
    writeWindow(a) {
      const { layer, d, kv } = checked('writeWindow', a);
      const { cache, step } = a as unknown as Attended;
      const any = planned('writeWindow', { cache, step });
      const { spec, window } = cache.memory[layer]!;
      checkWidth('writeWindow', 'd', d, layer, 'headDim', spec.headDim);
      if (any)
        device.run(
          'writeWindow',
          addon.writeWindow,
          ...step.native,
          ...step.pages('window'),
          d,
          at(kv),
          ...keysOf(window),
        );
    },
    compress(a) {
      const fn = 'compress';
      const { layer, indexer, width, kv, gate, eps } = checked(fn, a);
      const { cache, step } = a as unknown as Attended;
      const weights = a.weights as DeviceCompressor;
      const any = planned(fn, { cache, step });
      const { dim, width: wide, entries, openKv, openGate } = cache.compressor(fn, layer, indexer);
      const ratio = cache.specs[layer]!.ratio as 4 | 128;
      const word = indexer ? 'indexHeadDim' : 'headDim';
      checkWidth(fn, 'width', width, layer, ratio === 4 ? `2*${word}` : word, wide);
      checkWidth(fn, 'weights.ape.length', weights.apeLength, layer, 'ratio*width', ratio * width);
      checkWidth(fn, 'weights.norm.length', weights.normLength, layer, word, dim);
      if (!any) return;
      const pages = [...step.pages(`open${ratio}`), ...step.pages(`entries${ratio}`)];
      const inputs = [
        width,
        dim,
        at(kv),
        at(gate),
        weights.ape,
        weights.norm,
        eps,
        step.rope.address,
        step.rope.ropeDim,
      ];
      const memory = [openKv.address, openGate.address, ...keysOf(entries)];
      device.run(fn, addon.compress, ...step.native, ratio, ...pages, ...inputs, ...memory);
    },
    indexSelect(a) {
      const fn = 'indexSelect';
      const { layer, q, headWeights, heads, dim, topk, selected } = checked(fn, a);
      const { cache, step } = a as unknown as Attended;
      const any = planned(fn, { cache, step });
      const memory = cache.compressor(fn, layer, true);
      checkWidth(fn, 'dim', dim, layer, 'indexHeadDim', memory.dim);
      if (!any || topk === 0) return;
      const from = [...step.pages('entries4'), memory.entries.address, at(q), at(headWeights), heads, dim, topk];
      const most = visibleEntries(step.longest - 1, 4);
      device.run(fn, addon.indexSelect, ...step.native, ...from, most, at(selected));
    },
    attend(a) {
      const fn = 'attend';
      const { layer, q, heads, d, selected, topk, sinks, softmaxScale, out } = checked(fn, a);
      const { cache, step } = a as unknown as Attended;
      const any = planned(fn, { cache, step });
      const { spec, window, compressor } = cache.memory[layer]!;
      checkWidth(fn, 'd', d, layer, 'headDim', spec.headDim);
      if (selected !== null && spec.ratio === 0)
        throw new ValueError(
          `${fn}: "selected" must be null for layer ${layer}: its compress ratio is 0, there are no entries`,
        );
      if (!any) return;
      const near = [cache.window, ...step.pages('window'), ...keysOf(window)];
      const pages = spec.ratio === 0 ? [0, 0, 1] : step.pages(`entries${spec.ratio}`);
      const far = [spec.ratio, ...pages, keysOf(compressor?.entries)[0], at(selected), topk];
      const queries = [at(q), heads, d, at(sinks), Math.fround(softmaxScale), at(out)];
      device.run(fn, addon.attend, ...step.native, ...near, ...far, ...queries);
    },
  };
}
