/** Index of the value of an ascending `grid` nearest to `x`, a tie going to the even index; beyond the ends, the end. */
export function nearest(grid: Float32Array, x: number): number {
  let best = 0;
  for (let i = 1; i < grid.length; i++) {
    const now = Math.abs(grid[i]! - x);
    const before = Math.abs(grid[best]! - x);
    if (now > before) break; // the values that follow are further still
    if (now < before || (now === before && i % 2 === 0)) best = i;
  }
  return best;
}
