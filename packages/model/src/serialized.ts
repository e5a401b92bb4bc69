import { checkKind, plainView, ValueError } from '@megamoe/core';
import type { CachePart, KvDtype } from '@megamoe/ops';
import { createHash } from 'node:crypto';
import { dtypeOf, type SavedLayer, type SavedRows, type SavedSequence } from './saved';

/** First bytes of a serialized sequence. */
const MAGIC = 'megamoe-sequence\n';
const DIGEST = 32;

/** What stands before the data: everything but the numbers, and how many there are. */
interface Header {
  readonly version: number;
  readonly model?: string;
  readonly backend?: string;
  readonly tokens: number;
  readonly shortest?: number;
  readonly layers: readonly (Omit<SavedLayer, 'parts'> & { readonly parts: Readonly<Record<string, number>> })[];
}

/**
 * A saved sequence as bytes: a magic text, the length of the header (uint32), the header (JSON), the token ids (int32), the parts of all
 * layers (float32, or BF16 where keys are held so) in the order of the header, and the SHA-256 of all of it. Little-endian.
 */
export function serializeSequence({ version, model, backend, tokenIds, shortest, layers }: SavedSequence): Uint8Array {
  const header: Header = {
    version,
    ...(model === undefined ? {} : { model }),
    ...(backend === undefined ? {} : { backend }),
    tokens: tokenIds.length,
    ...(shortest === undefined ? {} : { shortest }),
    layers: layers.map(({ parts, ...layer }) => ({
      ...layer,
      parts: Object.fromEntries(Object.entries(parts).map(([name, values]) => [name, values.length])),
    })),
  };
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  const numbers = [tokenIds, ...layers.flatMap(({ parts }) => Object.values(parts))];
  const pieces = [
    Buffer.from(MAGIC),
    length,
    json,
    ...numbers.map((a) => Buffer.from(a.buffer, a.byteOffset, a.byteLength)),
  ];
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return new Uint8Array(Buffer.concat([...pieces, hash.digest()]));
}

/** The way back. @throws KindError for what is no Uint8Array, ValueError for bytes that are no sequence, or are damaged */
export function deserializeSequence(fn: string, bytes: Uint8Array): SavedSequence {
  checkKind(fn, 'bytes', bytes, Uint8Array);
  const data = Buffer.from(plainView(bytes, Uint8Array).slice().buffer); // a copy: a checksum holds for what nobody else writes to
  const at = MAGIC.length + 4;
  if (data.length < at + DIGEST || data.toString('latin1', 0, MAGIC.length) !== MAGIC) {
    throw new ValueError(`${fn}: "bytes" must be what Sequence.serialize gave, got ${data.length} other bytes`);
  }
  const end = data.length - DIGEST;
  if (!createHash('sha256').update(data.subarray(0, end)).digest().equals(data.subarray(end))) {
    throw new ValueError(`${fn}: "bytes" are damaged or cut short: their checksum is wrong`);
  }
  // From here on the bytes are what serializeSequence wrote, or somebody forged them with care.
  let header: Header;
  let from = at + data.readUInt32LE(MAGIC.length);
  const numbers = (n: number, size = 4): ArrayBuffer => {
    if (!Number.isInteger(n) || n < 0 || from + size * n > end) {
      throw new ValueError(`${fn}: "bytes" name more numbers than they hold`);
    }
    const piece = new Uint8Array(data.subarray(from, from + size * n)).buffer;
    from += size * n;
    return piece;
  };
  const rows = (dtype: KvDtype, n: number): SavedRows =>
    dtype === 'bf16' ? new Uint16Array(numbers(n, 2)) : new Float32Array(numbers(n));
  try {
    header = JSON.parse(data.toString('utf8', at, Math.min(from, end))) as Header;
    const tokenIds = new Int32Array(numbers(header.tokens));
    const layers = header.layers.map(({ parts, ...layer }): SavedLayer => {
      const read: Partial<Record<CachePart, SavedRows>> = {};
      for (const [name, n] of Object.entries(parts))
        read[name as CachePart] = rows(dtypeOf(name as CachePart, layer.kv), n);
      return { ...layer, parts: read };
    });
    const { version, model, backend, shortest } = header;
    return {
      format: 'megamoe-sequence',
      version: version as 2,
      ...(model === undefined ? {} : { model }),
      ...(backend === undefined ? {} : { backend }),
      tokenIds,
      ...(shortest === undefined ? {} : { shortest }),
      layers,
    };
  } catch (error) {
    if (error instanceof ValueError) throw error;
    throw new ValueError(`${fn}: "bytes" have no readable header`, { cause: error });
  }
}
