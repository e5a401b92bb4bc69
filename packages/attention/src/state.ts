import { checkInteger, checkKind, checkLength, ShapeError, ValueError } from '@megamoe/core';
import { createLayer, layerBytes } from './layer-state';
import type { CompressorState, LayerState } from './layer-state';
import { liveRows, putLayer, takeLayer } from './snapshot';
import type { SavedCompressor, SavedLayer, SavedState } from './snapshot';
import { checkLayerSpec } from './spec';
import type { StateSpec } from './spec';

/** A point of one {@link SequenceState} to go back to; opaque but for its position. */
export interface StateMark {
  /** Tokens seen when the mark was made. */
  readonly position: number;
}

class Mark implements StateMark {
  constructor(
    readonly owner: SequenceState,
    readonly serial: number,
    readonly position: number,
    readonly layers: readonly SavedLayer[],
  ) {}
}

/**
 * What one sequence remembers, layer by layer: the window ring, compressed entries, indexer entries, open windows and overlap.
 * Plain float32 arrays, allocated once from the spec; every backend reads and writes the same ones.
 *
 * A step writes to each layer (`writeWindow`, `compress`) at positions `position..position+n` and then adds n to `position`.
 */
export class SequenceState {
  /** Tokens seen. The caller adds to it when all layers have been written. */
  position = 0;
  readonly spec: StateSpec;
  readonly layers: readonly LayerState[];
  /** Bytes of all arrays. */
  readonly bytes: number;
  #serial = 0;
  /** Cuts that outdate marks: a mark older than `serial` and beyond `position` is gone. Both ascend. */
  #cuts: { serial: number; position: number }[] = [];

  /** Allocates from `spec`. Throws ValueError naming the field that is out of range. */
  constructor(spec: StateSpec) {
    checkInteger('SequenceState', 'maxTokens', spec.maxTokens, 1, 2 ** 31 - 2);
    checkInteger('SequenceState', 'maxChunk', spec.maxChunk, 1, 2 ** 30);
    spec.layers.forEach((layer, i) => checkLayerSpec('SequenceState', `layers[${i}]`, layer));
    this.spec = { ...spec, layers: spec.layers.map((layer) => ({ ...layer })) };
    this.layers = this.spec.layers.map((layer) => createLayer(layer, this.spec));
    this.bytes = this.layers.reduce((sum, layer) => sum + layerBytes(layer), 0);
  }

  /** An independent copy at the same position; marks of this state do not apply to it. */
  clone(): SequenceState {
    const copy = new SequenceState(this.spec);
    copy.restore(this.save());
    return copy;
  }

  /** Everything later tokens depend on, as plain data independent of this state's capacities. */
  save(): SavedState {
    this.#checkWhole('SequenceState.save');
    return {
      format: 'megamoe-sequence',
      version: 1,
      position: this.position,
      layers: this.layers.map((layer) => takeLayer(layer, true)),
    };
  }

  /**
   * Becomes what was saved, from this or from another state with the same layers (capacities may differ). Outdates all marks.
   * Throws ShapeError, leaving the state as it was, when layers or lengths differ or the sequence is longer than `maxTokens`.
   */
  restore(saved: SavedState): void {
    const fn = 'SequenceState.restore';
    if (saved.format !== 'megamoe-sequence' || saved.version !== 1) {
      const got = `${String(saved.format)} ${String(saved.version)}`;
      throw new ValueError(`${fn}: "saved" must be a megamoe-sequence of version 1, got ${got}`);
    }
    checkInteger(fn, 'saved.position', saved.position, 0);
    if (saved.position > this.spec.maxTokens) {
      throw new ShapeError(`${fn}: "saved" has ${saved.position} tokens, more than maxTokens = ${this.spec.maxTokens}`);
    }
    checkLength(fn, 'saved.layers', saved.layers, 'layers', this.layers.length);
    this.layers.forEach((layer, i) =>
      checkSavedLayer(fn, `saved.layers[${i}]`, layer, saved.layers[i]!, saved.position),
    );
    this.#cuts = [{ serial: ++this.#serial, position: -1 }];
    this.layers.forEach((layer, i) => putLayer(layer, saved.layers[i]!, saved.position));
    this.position = saved.position;
  }

  /** A point to {@link rewind} to. Costs a copy of the window and of the open compression windows, not of the entries. */
  mark(): StateMark {
    this.#checkWhole('SequenceState.mark');
    return new Mark(
      this,
      ++this.#serial,
      this.position,
      this.layers.map((layer) => takeLayer(layer, false)),
    );
  }

  /**
   * Cuts back to a mark of this state; a step that failed halfway is undone too. The mark stays usable. Throws ValueError for a
   * mark of another state, or one that lies beyond a point the state has been cut back to since.
   */
  rewind(mark: StateMark): void {
    const fn = 'SequenceState.rewind';
    if (!(mark instanceof Mark) || mark.owner !== this) {
      throw new ValueError(`${fn}: "mark" must be one that this state made`);
    }
    for (const cut of this.#cuts) {
      if (cut.serial > mark.serial && cut.position < mark.position) {
        throw new ValueError(
          cut.position < 0
            ? `${fn}: "mark" is outdated: the state was restored after it was made`
            : `${fn}: "mark" at position ${mark.position} is outdated: the state was cut back to position ${cut.position} after it was made`,
        );
      }
    }
    while (this.#cuts.length > 0 && this.#cuts.at(-1)!.position >= mark.position) this.#cuts.pop();
    this.#cuts.push({ serial: ++this.#serial, position: mark.position });
    this.layers.forEach((layer, i) => putLayer(layer, mark.layers[i]!, mark.position));
    this.position = mark.position;
  }

  /** Throws ValueError when a layer is not at `position`: a step is half done, or `position` was not advanced. */
  #checkWhole(fn: string): void {
    this.layers.forEach((layer, i) => {
      for (const at of [layer.position, layer.compressor?.position, layer.indexer?.position]) {
        if (at === undefined || at === this.position) continue;
        throw new ValueError(
          `${fn}: layer ${i} has seen ${at} tokens and the state ${this.position}: finish the step, or rewind to a mark`,
        );
      }
    });
  }
}

function checkSavedLayer(fn: string, at: string, layer: LayerState, saved: SavedLayer, position: number): void {
  const want: Record<string, number | undefined> = {
    ratio: layer.ratio,
    window: layer.window,
    headDim: layer.headDim,
    indexHeadDim: layer.indexer?.dim,
  };
  for (const [name, value] of Object.entries(want)) {
    const got = saved[name as 'ratio'];
    if (got !== value) throw new ShapeError(`${fn}: "${at}.${name}" must be ${value}, got ${got}`);
  }
  checkKind(fn, `${at}.ring`, saved.ring, Float32Array);
  const rows = liveRows(position, layer.window);
  checkLength(fn, `${at}.ring`, saved.ring, 'min(position, window-1)*headDim', rows * layer.headDim);
  if (layer.compressor) checkSavedCompressor(fn, `${at}.compressor`, layer.compressor, saved.compressor, position);
  if (layer.indexer) checkSavedCompressor(fn, `${at}.indexer`, layer.indexer, saved.indexer, position);
}

function checkSavedCompressor(
  fn: string,
  at: string,
  c: CompressorState,
  saved: SavedCompressor | undefined,
  position: number,
): void {
  if (!saved) throw new ShapeError(`${fn}: "${at}" is missing`);
  const open = (position % c.ratio) * c.width;
  const closed = Math.floor(position / c.ratio) * c.dim;
  const check = (name: keyof SavedCompressor, formula: string, want: number): void => {
    checkKind(fn, `${at}.${name}`, saved[name], Float32Array);
    checkLength(fn, `${at}.${name}`, saved[name], formula, want);
  };
  check('entries', 'floor(position/ratio)*dim', closed);
  check('partialKv', '(position%ratio)*width', open);
  check('partialGate', '(position%ratio)*width', open);
  check('overlapKv', 'ratio*dim', c.overlapKv.length);
  check('overlapGate', 'ratio*dim', c.overlapGate.length);
}
