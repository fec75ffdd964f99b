/**
 * Cuts a byte stream into JSON values, as QMP carries them: values follow each other with or without white
 * space between, and one may arrive in any number of pieces. Only brackets and strings are looked at here; what
 * is between them is `parseJson`'s business. Memory is bounded by the limit for one value.
 *
 * A value that cannot be one ends where that is known (a line's end inside a string, a closing bracket too many),
 * and the byte 0xFF drops whatever is unfinished: with it a client brings the stream back into step.
 */
export type JsonPiece = { readonly text: string } | { readonly problem: string };

const TAB = 0x09;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const DOUBLE_QUOTE = 0x22;
const SINGLE_QUOTE = 0x27;
const BACKSLASH = 0x5c;
const RESYNC = 0xff;

/** How deeply values may be nested (QEMU's limit). */
const MAX_DEPTH = 1024;

const isSpace = (byte: number) =>
  byte === SPACE || byte === LINE_FEED || byte === CARRIAGE_RETURN || byte === TAB;
const opens = (byte: number) => byte === 0x7b || byte === 0x5b;
const closes = (byte: number) => byte === 0x7d || byte === 0x5d;
const isQuote = (byte: number) => byte === DOUBLE_QUOTE || byte === SINGLE_QUOTE;

export class JsonSplitter {
  readonly #maxBytes: number;
  readonly #decoder = new TextDecoder('utf-8', { fatal: true });
  /** Whole pieces of the value that is not finished. */
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #depth = 0;
  /** The quote that ends the string which is being read; 0 outside of strings. */
  #quote = 0;
  #escaped = false;
  /** A word outside of brackets and quotes has begun: a number, `null`, or something that is no JSON. */
  #bare = false;
  #overflowed = false;

  /** @param maxBytes limit of one value */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** A value was longer than allowed: nothing is read any more. */
  get overflowed(): boolean {
    return this.#overflowed;
  }

  /** The values that end in this chunk, in order. */
  push(chunk: Uint8Array): JsonPiece[] {
    const pieces: JsonPiece[] = [];
    let start = 0;
    for (let at = 0; at < chunk.length && !this.#overflowed; at++) {
      const byte = chunk[at]!;
      if (byte === RESYNC) {
        this.#drop();
        pieces.push({ problem: 'the byte 0xFF' });
        start = at + 1;
      } else if (this.#quote !== 0) {
        if (byte < SPACE) {
          this.#drop();
          pieces.push({ problem: 'a control character in a string' });
          start = at + 1;
        } else if (this.#escaped) this.#escaped = false;
        else if (byte === BACKSLASH) this.#escaped = true;
        else if (byte === this.#quote) {
          this.#quote = 0;
          if (this.#depth === 0) start = this.#end(pieces, chunk, start, at + 1);
        }
      } else if (this.#bare && (isSpace(byte) || opens(byte) || closes(byte) || isQuote(byte))) {
        start = this.#end(pieces, chunk, start, at);
        at--;
      } else if (opens(byte)) {
        if (++this.#depth > MAX_DEPTH) {
          this.#drop();
          pieces.push({ problem: `more than ${MAX_DEPTH} brackets inside each other` });
          start = at + 1;
        }
      } else if (closes(byte)) {
        if (this.#depth === 0) {
          pieces.push({ problem: `a ${String.fromCharCode(byte)} that closes nothing` });
          start = at + 1;
        } else if (--this.#depth === 0) start = this.#end(pieces, chunk, start, at + 1);
      } else if (isQuote(byte)) this.#quote = byte;
      else if (this.#depth === 0) {
        if (isSpace(byte)) start = at + 1;
        else this.#bare = true;
      }
      if (this.#heldBytes + (at + 1 - start) > this.#maxBytes) {
        this.#drop();
        this.#overflowed = true;
        pieces.push({ problem: `a value of more than ${this.#maxBytes} bytes` });
        return pieces;
      }
    }
    if (start < chunk.length && !this.#overflowed) {
      this.#held.push(chunk.slice(start));
      this.#heldBytes += chunk.length - start;
    }
    return pieces;
  }

  #end(pieces: JsonPiece[], chunk: Uint8Array, start: number, end: number): number {
    const bytes = Buffer.concat([...this.#held, chunk.subarray(start, end)]);
    this.#drop();
    try {
      pieces.push({ text: this.#decoder.decode(bytes) });
    } catch {
      pieces.push({ problem: 'invalid UTF-8' });
    }
    return end;
  }

  #drop(): void {
    this.#held = [];
    this.#heldBytes = 0;
    this.#depth = 0;
    this.#quote = 0;
    this.#escaped = false;
    this.#bare = false;
  }
}
