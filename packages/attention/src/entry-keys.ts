import type { Own } from './own';
import type { RowLists } from './plan/row-lists';

/** The entries that the rows of a call attend to, after their windows. @throws ValueError for a selection that is not one */
export function entryKeys({ cache, step, layer, selected, topk }: Own<'attend'>): RowLists {
  const { ratio } = cache.specs[layer]!;
  if (ratio === 0) return step.none;
  const plan = step.compression(ratio);
  return selected === null ? plan.all() : plan.choose('attend', selected, topk);
}
