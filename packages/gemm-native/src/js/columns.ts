/** Columns of rows that lie in a larger array: row r starts at `r*stride + column`. */
export interface Columns {
  readonly data: Float32Array;
  readonly stride: number;
  readonly column: number;
}
