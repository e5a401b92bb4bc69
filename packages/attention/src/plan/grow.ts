const LEAST = 1024;

function roomFor(n: number): number {
  let room = LEAST;
  while (room < n) room *= 2;
  return room;
}

/** `array` when it holds n elements, else a new one of the next power of two: a warm step makes none. Nothing is copied. */
export function i32Room(array: Int32Array, n: number): Int32Array {
  return array.length >= n ? array : new Int32Array(roomFor(n));
}

/** The same for float32. */
export function f32Room(array: Float32Array, n: number): Float32Array {
  return array.length >= n ? array : new Float32Array(roomFor(n));
}
