import type { ModelConfig } from '@megamoe/checkpoint';
import { OP_NAMES, type OpName } from '@megamoe/ops';

/** How much of the model the prompt reached: what was not reached was not verified. */
export interface Coverage {
  readonly promptTokens: number;
  readonly decodedTokens: number;
  /** Queries whose window no longer held the first token. */
  readonly pastWindow: number;
  /** Compressed entries closed, by ratio. */
  readonly entries: Readonly<Record<string, number>>;
  /** Queries for which the indexer had to leave entries out. */
  readonly indexerChose: number;
  /** Fewest and most experts reached in a layer, of how many. */
  readonly experts: { readonly fewest: number; readonly most: number; readonly of: number };
  readonly stagedBlocks: number;
  readonly saturatedBlocks: number;
  /** Most sequences that a step had. */
  readonly sequences: number;
  /** Calls of each operation of the list that were judged, those beside the model's included. */
  readonly operations: Readonly<Record<OpName, number>>;
  /** What this run could not show. */
  readonly gaps: readonly string[];
}

/** Takes down what a run reached. */
export class CoverageNotes {
  #pastWindow = 0;
  #chosen = 0;
  #stagedBlocks = 0;
  #saturatedBlocks = 0;
  #sequences = 0;
  readonly #entries = new Map<number, number>();
  readonly #reached = new Map<number | null, Set<number>>();
  readonly #calls = new Map<OpName, number>();
  readonly #unseen = new Set<OpName>();
  readonly #gaps: string[] = [];

  /** An operation was judged. */
  called(name: OpName): void {
    this.#calls.set(name, (this.#calls.get(name) ?? 0) + 1);
  }

  /** An operation ran whose result the backend does not show. */
  unseen(name: OpName): void {
    this.#unseen.add(name);
  }

  /** A step of that many sequences ran. */
  step(sequences: number): void {
    this.#sequences = Math.max(this.#sequences, sequences);
  }

  /** Experts that a layer chose. */
  reached(layer: number | null, ids: Int32Array): void {
    const all = this.#reached.get(layer) ?? new Set<number>();
    ids.forEach((id) => all.add(id));
    this.#reached.set(layer, all);
  }

  /** Block scales of inputs in NVFP4; those at 448 were larger than the input scale was calibrated for. */
  staged(sf: Uint8Array): void {
    this.#stagedBlocks += sf.length;
    sf.forEach((byte) => (this.#saturatedBlocks += byte === 0x7e ? 1 : 0));
  }

  /** That many entries of a ratio are closed. */
  closed(ratio: number, entries: number): void {
    this.#entries.set(ratio, Math.max(this.#entries.get(ratio) ?? 0, entries));
  }

  /** A query asked the indexer, which had to leave entries out or not. */
  chose(hadTo: boolean): void {
    if (hadTo) this.#chosen++;
  }

  pastWindow(queries: number): void {
    this.#pastWindow += queries;
  }

  /** Something that this run cannot show. */
  gap(text: string): void {
    this.#gaps.push(text);
  }

  /** Everything, for a run of a prompt and `decoded` tokens after it. */
  coverage(c: ModelConfig, promptTokens: number, decodedTokens: number): Coverage {
    const counts = [...this.#reached.values()].map((s) => s.size);
    const [fewest, most] = counts.length === 0 ? [0, 0] : [Math.min(...counts), Math.max(...counts)];
    return {
      promptTokens,
      decodedTokens,
      pastWindow: this.#pastWindow,
      entries: Object.fromEntries(this.#entries),
      indexerChose: this.#chosen,
      experts: { fewest, most, of: c.numExperts },
      stagedBlocks: this.#stagedBlocks,
      saturatedBlocks: this.#saturatedBlocks,
      sequences: this.#sequences,
      operations: Object.fromEntries(OP_NAMES.map((name) => [name, this.#calls.get(name) ?? 0])) as Record<
        OpName,
        number
      >,
      gaps: this.#allGaps(c, decodedTokens, fewest),
    };
  }

  #allGaps(c: ModelConfig, decodedTokens: number, fewestExperts: number): string[] {
    const gaps = [...this.#gaps];
    if (this.#unseen.size > 0)
      gaps.push(
        `${[...this.#unseen].join(', ')}: the backend has no readStaged; judged with the product after it alone`,
      );
    if (this.#pastWindow === 0) gaps.push(`no query was past the window of ${c.slidingWindow} tokens`);
    for (const ratio of new Set(c.compressRatios)) {
      if (ratio !== 0 && !this.#entries.get(ratio)) gaps.push(`no window of ${ratio} tokens was closed`);
    }
    if (c.compressRatios.includes(4) && this.#chosen === 0)
      gaps.push(`the indexer never had more than index_topk = ${c.indexTopk} entries to choose from`);
    if (fewestExperts < c.numExperts) gaps.push(`a layer used only ${fewestExperts} of its ${c.numExperts} experts`);
    if (decodedTokens === 0) gaps.push('no token was decoded');
    else if (this.#sequences < 2) gaps.push('no step had two sequences');
    const never = OP_NAMES.filter((name) => !this.#calls.has(name));
    if (never.length > 0) gaps.push(`never called: ${never.join(', ')}`);
    return gaps;
  }
}
