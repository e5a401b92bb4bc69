import type { SequencePages } from '@megamoe/ops';

/** A state that is kept: the pages of a sequence as they stood at the end of a node. */
export interface Snapshot {
  /** Of its tree. */
  readonly key: string;
  readonly node: PrefixNode;
  readonly pages: SequencePages;
  /** Kept on the chance that somebody departs from a prompt here; goes before all others. */
  readonly speculative: boolean;
}

/** A node of a radix tree over token ids: the tokens from its parent to it. */
export class PrefixNode {
  readonly children = new Map<number, PrefixNode>();
  /** What is kept at its end. */
  kept: Snapshot | undefined;
  speculative: Snapshot | undefined;

  constructor(
    public parent: PrefixNode | undefined,
    public edge: Int32Array,
    /** Tokens from the root to its end. */
    readonly depth: number,
  ) {}
}

/** Where a text of token ids leaves a tree. */
export interface PrefixMatch {
  /** Tokens that are in the tree. */
  readonly length: number;
  /** The last node that lies on the way whole. */
  readonly last: PrefixNode;
  /** The node that the way ended within; undefined when it ended at `last`. */
  readonly within: PrefixNode | undefined;
}

/** Follows `ids` from a root as far as it goes, at most `most` tokens. */
export function matchPrefix(root: PrefixNode, ids: ArrayLike<number>, most: number): PrefixMatch {
  let node = root;
  let at = 0;
  while (at < most) {
    const next = node.children.get(ids[at]!);
    if (next === undefined) break;
    const { edge } = next;
    const end = Math.min(edge.length, most - at);
    let n = 1;
    while (n < end && edge[n] === ids[at + n]) n++;
    at += n;
    if (n < edge.length) return { length: at, last: node, within: next };
    node = next;
  }
  return { length: at, last: node, within: undefined };
}

/** The node at exactly `length` tokens of `ids`; made when it is not there. */
export function nodeAt(root: PrefixNode, ids: ArrayLike<number>, length: number): PrefixNode {
  const { length: found, last, within } = matchPrefix(root, ids, length);
  let from = last;
  if (within !== undefined) {
    const cut = found - last.depth;
    from = new PrefixNode(last, within.edge.slice(0, cut), found);
    last.children.set(within.edge[0]!, from);
    within.parent = from;
    within.edge = within.edge.slice(cut);
    from.children.set(within.edge[0]!, within);
  }
  if (found === length) return from;
  const edge = Int32Array.from({ length: length - found }, (_, i) => ids[found + i]!);
  const node = new PrefixNode(from, edge, length);
  from.children.set(edge[0]!, node);
  return node;
}

/** Takes out a node that holds nothing any more, and what then only leads on: the tree stays as small as what it keeps. */
export function prune(node: PrefixNode): void {
  let at: PrefixNode = node;
  while (at.parent !== undefined && at.kept === undefined && at.speculative === undefined) {
    const { parent } = at;
    if (at.children.size > 1) return;
    const [only] = at.children.values();
    if (only === undefined) parent.children.delete(at.edge[0]!);
    else {
      const edge = new Int32Array(at.edge.length + only.edge.length);
      edge.set(at.edge);
      edge.set(only.edge, at.edge.length);
      only.edge = edge;
      only.parent = parent;
      parent.children.set(edge[0]!, only);
      return;
    }
    at = parent;
  }
}
