import {
  checkInteger,
  checkKind,
  checkObject,
  checkOneOf,
  checkPositive,
  describe,
  KindError,
  plainView,
  UnsupportedError,
  ValueError,
} from '@megamoe/core';
import { inverseFrequencies } from '@megamoe/ops';
import type { CompressorHandle, RopeHandle, RopeSpec, RouterHandle, RouteSpec } from '@megamoe/ops';
import type { Device, Memory } from './device';

/** Scorings, in the order of native/kernels/route.h. */
const SCORINGS = ['sqrtsoftplus', 'softmax', 'sigmoid'] as const;

/** Most experts: their scores lie in the shared memory of a block (kMostExperts of native/kernels/route.h). */
const MOST_EXPERTS = 8192;

/** What `createRouter` makes. It has no memory of its own. */
export class DeviceRouter implements RouterHandle {
  readonly numExperts: number;
  readonly topk: number;
  readonly maxTokens: number;
  /** numExperts, topk, scoring, whether weights are normalised, their factor: as the addon takes them. */
  readonly native: readonly number[];
  readonly #isOne = true;

  static is(v: unknown): v is DeviceRouter {
    return typeof v === 'object' && v !== null && #isOne in v;
  }

  constructor(spec: RouteSpec) {
    const fn = 'createRouter';
    checkObject(fn, 'spec', spec);
    const { maxTokens, numExperts, topk, scoring, normTopkProb, routedScalingFactor } = spec;
    checkInteger(fn, 'maxTokens', maxTokens, 0);
    checkInteger(fn, 'numExperts', numExperts, 1);
    checkInteger(fn, 'topk', topk, 1);
    if (topk > numExperts)
      throw new ValueError(`${fn}: "topk" must be at most numExperts = ${numExperts}, got ${topk}`);
    if (numExperts > MOST_EXPERTS)
      throw new UnsupportedError(`${fn}: "numExperts" must be at most ${MOST_EXPERTS} on cuda, got ${numExperts}`);
    checkOneOf(fn, 'scoring', scoring, SCORINGS);
    if (typeof normTopkProb !== 'boolean')
      throw new KindError(`${fn}: "normTopkProb" must be a boolean, got ${describe(normTopkProb)}`);
    checkPositive(fn, 'routedScalingFactor', routedScalingFactor);
    if (!Number.isFinite(Math.fround(routedScalingFactor)))
      throw new ValueError(`${fn}: "routedScalingFactor" must be finite in float32, got ${routedScalingFactor}`);
    this.numExperts = numExperts;
    this.topk = topk;
    this.maxTokens = maxTokens;
    this.native = Object.freeze([
      numExperts,
      topk,
      SCORINGS.indexOf(scoring),
      Number(normTopkProb),
      Math.fround(routedScalingFactor),
    ]);
    Object.freeze(this);
  }
}

/** What `createRope` makes: inverse frequencies on the device. */
export class DeviceRope implements RopeHandle {
  readonly ropeDim: number;
  readonly #memory: Memory;

  static stateOf(v: unknown): 'good' | 'disposed' | 'foreign' {
    if (!(typeof v === 'object' && v !== null && #memory in v)) return 'foreign';
    return v.#memory.disposed ? 'disposed' : 'good';
  }

  constructor(device: Device, spec: RopeSpec) {
    const frequencies = inverseFrequencies('createRope', spec);
    this.ropeDim = 2 * frequencies.length;
    this.#memory = device.allocFrom('createRope', frequencies);
    Object.freeze(this);
  }

  /** [ropeDim/2] f32 */
  get address(): number {
    return this.#memory.address;
  }

  dispose(): void {
    this.#memory.dispose();
  }
}

/** What `packCompressor` makes: weights on the device. */
export class DeviceCompressor implements CompressorHandle {
  readonly kind = 'compressor';
  readonly #ape: Memory;
  readonly #norm: Memory;
  readonly apeLength: number;
  readonly normLength: number;

  static stateOf(v: unknown): 'good' | 'disposed' | 'foreign' {
    if (!(typeof v === 'object' && v !== null && #ape in v)) return 'foreign';
    return v.#ape.disposed ? 'disposed' : 'good';
  }

  constructor(device: Device, ape: Float32Array, norm: Float32Array) {
    const fn = 'packCompressor';
    checkKind(fn, 'ape', ape, Float32Array);
    checkKind(fn, 'norm', norm, Float32Array);
    const own = { ape: plainView(ape, Float32Array), norm: plainView(norm, Float32Array) };
    this.apeLength = own.ape.length;
    this.normLength = own.norm.length;
    this.#ape = device.allocFrom(fn, own.ape);
    try {
      this.#norm = device.allocFrom(fn, own.norm);
    } catch (error) {
      this.#ape.dispose();
      throw error;
    }
    Object.freeze(this);
  }

  /** [ratio, width] position bias of the gates. */
  get ape(): number {
    return this.#ape.address;
  }

  /** [dim] RMS norm of an entry. */
  get norm(): number {
    return this.#norm.address;
  }

  dispose(): void {
    this.#ape.dispose();
    this.#norm.dispose();
  }
}
