import type { Model, WeightSource } from '@megamoe/model';
import type { WeightCount } from '../synthetic';
import type { Watched } from './watch';

/** A model that can be measured. */
export interface Measurable {
  readonly model: Model;
  /** Where its weights came from, for those who check products; null: they are not checked. */
  readonly source: WeightSource | null;
  readonly count: WeightCount;
  readonly during: Watched['during'];
}

/** One model at a time: they are large. */
export class Loaded {
  #key: string | undefined;
  #model: Measurable | undefined;

  /** The model of that name, made when it is not the one that is there; the other is freed first. */
  async get(key: string, make: () => Promise<Measurable>): Promise<Measurable> {
    if (this.#model !== undefined && this.#key === key) return this.#model;
    this.dispose();
    this.#model = await make();
    this.#key = key;
    return this.#model;
  }

  dispose(): void {
    this.#model?.model.dispose();
    this.#model = undefined;
  }
}
