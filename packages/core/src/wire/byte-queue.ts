import { type ErrorCode, MigrationError, type MigrationErrorDetails } from '../error.ts';

/** Largest integer part of a be64 that a number holds exactly: 2^53 is `MAX_HIGH_WORD * 2^32`. */
const MAX_HIGH_WORD = 0x200000;
const FIRST_CAPACITY = 8192;

/**
 * The bytes of one channel that were received and not decoded yet.
 *
 * Chunks are borrowed: reads are views into them. Only a piece that spans chunks, and what is left when the
 * decoder starves (`retain`), is copied into a buffer of the queue's own, so that a stream of large chunks
 * costs no copy but one record per chunk.
 */
export class ByteQueue {
  /** For error messages: `main`, `return-path`, `multifd 0`. */
  readonly channel: string;
  /** Absolute offset of the next unread byte. */
  offset: number;
  /** The peer closed: nothing comes after what is here. */
  ended = false;
  #available = 0;
  #needed = 0;
  /** Absolute offset at which the next contiguous push starts; below `offset` while skipping. */
  #received: number;
  #current: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  /** `#current` is `#own`. */
  #owned = false;
  #own = new Uint8Array(0);
  #pending: Uint8Array[] = [];
  #pendingHead = 0;

  constructor(channel: string, offset = 0) {
    this.channel = channel;
    this.offset = offset;
    this.#received = offset;
  }

  /** Number of bytes that can be read now. */
  get available(): number {
    return this.#available;
  }

  /** Where the next push should start when bytes up to there will only be dropped; see `skipTo`. */
  get wanted(): number | undefined {
    return this.offset > this.#received ? this.offset : undefined;
  }

  /** False as long as the last `has` failed and would fail again. */
  get ready(): boolean {
    return this.#available >= this.#needed || this.ended;
  }

  /** Adds a chunk, borrowed until `retain`. `at`: its absolute offset, when bytes that are not wanted were left out. */
  push(bytes: Uint8Array, at = this.#received): void {
    if (this.ended) throw this.error('internal', 'bytes were pushed after the end');
    if (bytes.length === 0) return;
    // A view of its own: `slice` of a Node Buffer would share the caller's memory instead of copying it.
    const chunk = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    if (at !== this.#received && (at < this.#received || at > this.offset)) {
      throw this.error('internal', `bytes pushed at ${at}, wanted at ${this.wanted ?? this.#received}`);
    }
    this.#received = at + chunk.length;
    if (this.#received <= this.offset) return;
    const rest = at < this.offset && this.#available === 0 ? chunk.subarray(this.offset - at) : chunk;
    if (this.#available === 0) this.#use(rest);
    else this.#pending.push(rest);
    this.#available += rest.length;
  }

  end(): void {
    this.ended = true;
  }

  /** Whether `count` bytes can be read. */
  has(count: number): boolean {
    const there = this.#available >= count;
    this.#needed = there ? 0 : count;
    return there;
  }

  /** A view of the next `count` bytes without consuming them; valid until the next call. They must be there. */
  peek(count: number): Uint8Array {
    this.#joinUpTo(count);
    return this.#current.subarray(this.#at, this.#at + count);
  }

  /** Where the next `count` bytes begin in `memory`, without consuming them; valid until the next call. They must be there. */
  locate(count: number): number {
    this.#joinUpTo(count);
    return this.#at;
  }

  /** What the bytes that `locate` found lie in. */
  get memory(): Uint8Array {
    return this.#current;
  }

  /** The byte `index` places ahead, not consumed. */
  peekU8(index = 0): number {
    this.#joinUpTo(index + 1);
    return this.#current[this.#at + index]!;
  }

  /** The be32 `index` places ahead, not consumed. */
  peekU32(index = 0): number {
    this.#joinUpTo(index + 4);
    const bytes = this.#current;
    const at = this.#at + index;
    return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
  }

  /** Reads `count` bytes as a view, valid until the next call. */
  take(count: number): Uint8Array {
    const bytes = this.peek(count);
    this.#advance(count);
    return bytes;
  }

  u8(): number {
    const value = this.peekU8();
    this.#advance(1);
    return value;
  }

  u32(): number {
    const value = this.peekU32();
    this.#advance(4);
    return value;
  }

  /** Reads a be64 below 2^53. @throws MigrationError `limit-exceeded` otherwise, naming `what`. */
  u64(what: string): number {
    const high = this.peekU32();
    const low = this.peekU32(4);
    if (high >= MAX_HIGH_WORD) {
      throw this.error('limit-exceeded', what, {
        found: `0x${high.toString(16)}${low.toString(16).padStart(8, '0')}`,
        expected: 'less than 2^53',
      });
    }
    this.#advance(8);
    return high * 0x1_0000_0000 + low;
  }

  /** Drops `count` bytes that are there. */
  skip(count: number): void {
    let left = count;
    while (left > 0) {
      const step = Math.min(left, this.#end - this.#at);
      this.#advance(step);
      left -= step;
    }
  }

  /** Drops everything before the absolute offset `target`, also bytes that are still to come. */
  skipTo(target: number): void {
    const distance = target - this.offset;
    this.skip(Math.min(distance, this.#available));
    this.offset = target;
  }

  /** Copies what is left of the borrowed chunks. After this the chunks belong to the caller again. */
  retain(): void {
    if (this.#available === 0) {
      // Nothing may point into a borrowed chunk any more.
      this.#use(this.#own);
      this.#at = this.#end = 0;
      this.#owned = true;
      return;
    }
    if (this.#owned && this.#pendingHead === this.#pending.length) return;
    this.#joinUpTo(this.#available);
    if (!this.#owned) this.#own = this.#moveToOwn(this.#available);
  }

  /** An error at the absolute offset `at`, by default that of the next unread byte. */
  error(
    code: ErrorCode,
    message: string,
    details: MigrationErrorDetails = {},
    at = this.offset,
  ): MigrationError {
    return new MigrationError(code, message, { channel: this.channel, offset: at, ...details });
  }

  /** The error for a stream that ended where `expected` should have come; its offset is where it ended. */
  truncated(expected: string): MigrationError {
    return this.error('truncated', 'the stream ends here', { expected }, this.#received);
  }

  #use(bytes: Uint8Array): void {
    this.#current = bytes;
    this.#at = 0;
    this.#end = bytes.length;
    this.#owned = false;
  }

  #advance(count: number): void {
    this.#at += count;
    this.#available -= count;
    this.offset += count;
    if (this.#at === this.#end && this.#available > 0) {
      this.#use(this.#pending[this.#pendingHead]!);
      this.#pendingHead++;
      if (this.#pendingHead === this.#pending.length) {
        this.#pending.length = 0;
        this.#pendingHead = 0;
      }
    }
  }

  /** Makes the next `count` bytes contiguous in `#current`. */
  #joinUpTo(count: number): void {
    let there = this.#end - this.#at;
    if (there >= count) return;
    if (count > this.#available) throw this.error('internal', `read of ${count} bytes beyond what is there`);
    this.#own = this.#moveToOwn(count);
    while (there < count) {
      const chunk = this.#pending[this.#pendingHead]!;
      const step = Math.min(count - there, chunk.length);
      if (step === 1) this.#own[this.#end] = chunk[0]!;
      else this.#own.set(step === chunk.length ? chunk : chunk.subarray(0, step), this.#end);
      this.#end += step;
      there += step;
      if (step < chunk.length) this.#pending[this.#pendingHead] = chunk.subarray(step);
      else this.#pendingHead++;
    }
    if (this.#pendingHead === this.#pending.length) {
      this.#pending.length = 0;
      this.#pendingHead = 0;
    }
  }

  /** Moves the rest of `#current` into an own buffer with room for `count` bytes from the read position on. */
  #moveToOwn(count: number): Uint8Array<ArrayBuffer> {
    const there = this.#end - this.#at;
    let own = this.#own;
    if (this.#owned && own.length - this.#at >= count) return own;
    // Compacting only a buffer that is at most half full keeps byte-wise feeding linear.
    const fits = this.#owned ? own.length >= 2 * count : own.length >= count;
    if (!fits) own = new Uint8Array(Math.max(FIRST_CAPACITY, 2 * count, own.length));
    if (this.#owned && fits) own.copyWithin(0, this.#at, this.#end);
    else own.set(this.#current.subarray(this.#at, this.#end), 0);
    this.#current = own;
    this.#at = 0;
    this.#end = there;
    this.#owned = true;
    return own;
  }
}

/** Waits, as part of a decoder's generator, until `count` bytes are there; `expected` says for what. */
export function* need(queue: ByteQueue, count: number, expected: string): Generator<undefined, void> {
  while (!queue.has(count)) {
    if (queue.ended) throw queue.truncated(expected);
    yield undefined;
  }
}
