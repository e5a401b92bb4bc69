import { listText } from './fail';

/** What is odd but not an error, in sentences: a list that grows while tensors are read, in which like things are counted. */
export class Noticed {
  /** The sentences; those that count change as more is read. */
  readonly warnings: string[];
  readonly #counted = new Map<string, { readonly at: number; readonly names: Set<string>; amount: number }>();

  constructor(warnings: readonly string[] = []) {
    this.warnings = [...warnings];
  }

  /** Takes in a sentence, unless it is there. */
  once(warning: string): void {
    if (!this.warnings.includes(warning)) this.warnings.push(warning);
  }

  /**
   * Counts one more thing of a kind, with `amount` parts.
   * @param name the thing; one that is known adds its amount alone
   * @param text the sentence about all of them
   */
  count(kind: string, name: string, amount: number, text: (all: Counted) => string): void {
    let group = this.#counted.get(kind);
    if (!group) this.#counted.set(kind, (group = { at: this.warnings.length, names: new Set(), amount: 0 }));
    group.names.add(name);
    group.amount += amount;
    this.warnings[group.at] = text(new Counted(group.names, group.amount));
  }
}

/** Things of a kind. */
export class Counted {
  constructor(
    readonly names: ReadonlySet<string>,
    /** Parts of all of them. */
    readonly amount: number,
  ) {}

  /** The first few names, quoted, with a count of the others. */
  get list(): string {
    return listText([...this.names], 3);
  }
}
