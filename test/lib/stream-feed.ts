import { createHash, type Hash } from 'node:crypto';
import { MigrationError } from '@pageferry/core';
import type { MultifdMessage, ReturnPathMessage, StreamMessage } from '@pageferry/core/wire';

/** Feeding decoders with a recorded stream in differently cut chunks, and comparing what they give. */

export type Message = StreamMessage | MultifdMessage | ReturnPathMessage;

export interface Decoder {
  push(chunk: Uint8Array): void;
  end(): void;
  next(): Message | undefined;
  readonly offset: number;
}

/** What came out of a decoder: comparable with deepEqual. */
export interface Outcome {
  /** Number of messages by type. */
  readonly counts: Readonly<Record<string, number>>;
  /** Of all messages with all their bytes, in order. */
  readonly digest: string;
  /** Offset of the decoder after the last message. */
  readonly offset: number;
  readonly error?: { readonly code: string; readonly offset: number | undefined; readonly message: string };
}

/** Pushes `bytes` in some way and calls `drain` after each push. */
export type Feed = (decoder: Decoder, bytes: Uint8Array, drain: () => void) => void;

export const feedWhole: Feed = (decoder, bytes, drain) => {
  decoder.push(bytes);
  drain();
};

/** Always the same one-byte chunk: a decoder that keeps a view of it cannot get the right bytes. */
export const feedBytewise: Feed = (decoder, bytes, drain) => {
  const chunk = new Uint8Array(1);
  for (let i = 0; i < bytes.length; i++) {
    chunk[0] = bytes[i]!;
    decoder.push(chunk);
    drain();
  }
};

/** Chunks of 1 byte to 40 kB, one or two at a time, overwritten as soon as the decoder gave them back. */
export function feedRandomly(seed: number): Feed {
  return (decoder, bytes, drain) => {
    const random = randomNumbers(seed);
    const buffers = [new Uint8Array(40_000), new Uint8Array(40_000)];
    let at = 0;
    while (at < bytes.length) {
      for (const buffer of random() < 0.3 ? buffers : buffers.slice(1)) {
        const length = Math.min(bytes.length - at, 1 + Math.floor(40_000 ** random()));
        buffer.set(bytes.subarray(at, at + length));
        decoder.push(buffer.subarray(0, length));
        at += length;
      }
      drain();
      for (const buffer of buffers) buffer.fill(0xee);
    }
  };
}

/** Everything that the decoder gives for these bytes, fed in this way, with the close at the end. */
export function outcomeOf(decoder: Decoder, bytes: Uint8Array, feed: Feed): Outcome {
  const hash = createHash('sha1');
  const counts: Record<string, number> = {};
  const drain = () => {
    for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
      counts[message.type] = (counts[message.type] ?? 0) + 1;
      absorb(hash, message);
    }
  };
  let error: Outcome['error'];
  try {
    feed(decoder, bytes, drain);
    decoder.end();
    drain();
  } catch (thrown) {
    if (!(thrown instanceof MigrationError)) throw thrown;
    error = { code: thrown.code, offset: thrown.offset, message: thrown.message };
  }
  return { counts, digest: hash.digest('hex'), offset: decoder.offset, ...(error && { error }) };
}

/** Numbers in [0, 1) that are the same in every run (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function absorb(hash: Hash, message: Message): void {
  switch (message.type) {
    case 'ram-page':
      hash.update(`page ${message.blockIndex} ${message.pageIndex}`).update(message.data);
      break;
    case 'ram-xbzrle':
    case 'ram-compressed-page':
      hash.update(`${message.type} ${message.blockIndex} ${message.pageIndex}`).update(message.data);
      break;
    case 'ram-zero':
      hash.update(`zero ${message.blockIndex} ${message.pageIndex}`);
      break;
    case 'packet':
      hash.update(JSON.stringify(plain({ ...message, payload: undefined }))).update(message.payload);
      break;
    default:
      hash.update(JSON.stringify(plain(message)));
  }
}

/** Bytes as hex and large integers as text, so that JSON shows them. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return `${value}`;
  if (ArrayBuffer.isView(value)) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex');
  }
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, plain(entry)]));
}
