import { ShapeError } from '@megamoe/core';
import { sfOffsetTable, type SfGeometry } from '@megamoe/sf-layout';

/** Most scale factors that a report lists: beyond this its JSON passes what a JavaScript string can hold. */
const MAX_REPORTED = 2 ** 25;

/** What `megamoe layout --json` prints. */
export interface LayoutReport {
  readonly allocationBytes: number;
  /** Byte offsets in `[l][row][kSf]` order. */
  readonly offsets: number[];
}

/** Where every scale factor of an operand lies. @throws ShapeError when there are too many to print */
export function layoutReport(geometry: SfGeometry): LayoutReport {
  const { rows, kSf, l, allocationBytes } = geometry;
  const count = l * rows * kSf;
  if (count > MAX_REPORTED) {
    throw new ShapeError(
      `layout: --json lists at most ${MAX_REPORTED} scale factors, "rows", "k" and "l" give ${count}; give a smaller operand`,
    );
  }
  return { allocationBytes, offsets: Array.from(sfOffsetTable(geometry)) };
}
