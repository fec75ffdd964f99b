import { MigrationError } from '../error.ts';
import { need } from './byte-queue.ts';
import { ByteWriter, concatBytes } from './byte-writer.ts';
import { QueueDecoder } from './queue-decoder.ts';
import { decodeText, encodeCountedString, hexOf } from './text.ts';

/*
 * Return path, destination to source, on the main channel's other direction:
 *   be16 type, be16 payload length, payload
 *
 *   1 SHUT            be32 value: 0 success, else the destination failed
 *   2 PONG            be32 value of the PING
 *   3 REQ_PAGES_ID    be64 offset, be32 length, cstr8 block
 *   4 REQ_PAGES       be64 offset, be32 length; in the block of the last REQ_PAGES_ID
 *   5 RECV_BITMAP     cstr8 block; after it, not counted in the length:
 *                       be64 size, `size` bytes of bitmap (LSB first), be64 0x0123456789abcdef
 *   6 RESUME_ACK      be32 1
 *   7 SWITCHOVER_ACK  nothing
 * Type 0 is not used.
 */

export type ReturnPathMessage =
  | { readonly type: 'shut'; readonly value: number }
  | { readonly type: 'pong'; readonly value: number }
  /** `block` is absent when it is that of the request before. */
  | {
      readonly type: 'req-pages';
      readonly block?: string;
      readonly offsetBytes: number;
      readonly lengthBytes: number;
    }
  /** Bit i (LSB first) of `bitmap` says whether page i was received; its length is a multiple of 8 bytes. */
  | { readonly type: 'recv-bitmap'; readonly block: string; readonly bitmap: Uint8Array }
  | { readonly type: 'resume-ack'; readonly value: number }
  | { readonly type: 'switchover-ack' };

const MessageType = {
  shut: 1,
  pong: 2,
  reqPagesId: 3,
  reqPages: 4,
  recvBitmap: 5,
  resumeAck: 6,
  switchoverAck: 7,
} as const;

/** Payload lengths: the exact one, or the least when a name is in the payload. */
const FIXED_BYTES: readonly (number | undefined)[] = [undefined, 4, 4, undefined, 12, undefined, 4, 0];
const MAX_PAYLOAD_BYTES = 512;
const REQUEST_BYTES = 12;
const BITMAP_END_HIGH = 0x01234567;
const BITMAP_END_LOW = 0x89abcdef;
/** The bitmap of a block of 8 TiB. */
const MAX_BITMAP_BYTES = 256 * 1024 * 1024;

/** @throws MigrationError `bad-option` for a block name or bitmap that cannot be encoded */
export function encodeReturnPath(message: ReturnPathMessage): Uint8Array<ArrayBuffer> {
  switch (message.type) {
    case 'shut':
      return frame(MessageType.shut, new ByteWriter().u32(message.value).finish());
    case 'pong':
      return frame(MessageType.pong, new ByteWriter().u32(message.value).finish());
    case 'resume-ack':
      return frame(MessageType.resumeAck, new ByteWriter().u32(message.value).finish());
    case 'switchover-ack':
      return frame(MessageType.switchoverAck, new Uint8Array(0));
    case 'req-pages': {
      const request = new ByteWriter().u64(message.offsetBytes).u32(message.lengthBytes);
      if (message.block === undefined) return frame(MessageType.reqPages, request.finish());
      return frame(MessageType.reqPagesId, request.bytes(encodeCountedString(message.block)).finish());
    }
    case 'recv-bitmap': {
      const { block, bitmap } = message;
      if (bitmap.length % 8 !== 0) {
        throw new MigrationError(
          'bad-option',
          `a received bitmap of ${bitmap.length} bytes is no multiple of 8`,
        );
      }
      const head = frame(MessageType.recvBitmap, encodeCountedString(block));
      const size = new ByteWriter().u64(bitmap.length).finish();
      const end = new ByteWriter().u32(BITMAP_END_HIGH).u32(BITMAP_END_LOW).finish();
      return concatBytes([head, size, bitmap, end]);
    }
  }
}

function frame(type: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  return concatBytes([new ByteWriter().u16(type).u16(payload.length).finish(), payload]);
}

/**
 * Decodes the return path from chunks of any size. After `end()`, `next()` gives undefined at a message's end
 * and throws `truncated` inside one. Other errors: `bad-return-path`, `limit-exceeded`.
 */
export class ReturnPathDecoder extends QueueDecoder<ReturnPathMessage> {
  constructor(channel = 'return-path') {
    super(channel);
  }

  protected override *decode(): Generator<ReturnPathMessage | undefined, void> {
    const queue = this.queue;
    for (;;) {
      while (!queue.has(1)) {
        if (queue.ended) return;
        yield undefined;
      }
      yield* need(queue, 4, 'a return-path message');
      const head = queue.peekU32();
      const type = head >>> 16;
      const length = head & 0xffff;
      this.#checkHead(type, length);
      yield* need(queue, 4 + length, `a return-path message with ${length} bytes of payload`);
      queue.skip(4);
      if (type === MessageType.recvBitmap) yield yield* this.#bitmap(length);
      else yield this.#message(type, length);
    }
  }

  #checkHead(type: number, length: number): void {
    const queue = this.queue;
    if (type === 0 || type > MessageType.switchoverAck) {
      const expected = 'a type from 1 to 7';
      throw queue.error('bad-return-path', 'return-path message', { found: `type ${type}`, expected });
    }
    const fixed = FIXED_BYTES[type];
    const least = type === MessageType.reqPagesId ? REQUEST_BYTES + 2 : 2;
    if (fixed === undefined ? length < least || length > MAX_PAYLOAD_BYTES : length !== fixed) {
      const expected = fixed === undefined ? `${least} to ${MAX_PAYLOAD_BYTES}` : `${fixed}`;
      const message = `payload length of return-path message type ${type}`;
      throw queue.error('bad-return-path', message, { found: `${length}`, expected }, queue.offset + 2);
    }
  }

  #message(type: number, length: number): ReturnPathMessage {
    const queue = this.queue;
    switch (type) {
      case MessageType.shut:
        return { type: 'shut', value: queue.u32() };
      case MessageType.pong:
        return { type: 'pong', value: queue.u32() };
      case MessageType.resumeAck:
        return { type: 'resume-ack', value: queue.u32() };
      case MessageType.switchoverAck:
        return { type: 'switchover-ack' };
      default: {
        const offsetBytes = queue.u64('offset of a page request');
        const lengthBytes = queue.u32();
        if (type === MessageType.reqPages) return { type: 'req-pages', offsetBytes, lengthBytes };
        return { type: 'req-pages', block: this.#name(length - REQUEST_BYTES), offsetBytes, lengthBytes };
      }
    }
  }

  /** A counted string that must fill the rest of the payload. */
  #name(length: number): string {
    const queue = this.queue;
    const bytes = queue.peek(length);
    const name = bytes[0] === length - 1 ? decodeText(bytes.subarray(1)) : undefined;
    if (name === undefined) {
      const expected = `a counted string of ${length} bytes`;
      throw queue.error('bad-return-path', 'block name', { found: hexOf(bytes), expected });
    }
    queue.skip(length);
    return name;
  }

  *#bitmap(length: number): Generator<undefined, ReturnPathMessage> {
    const queue = this.queue;
    const block = this.#name(length);
    yield* need(queue, 8, 'the size of a received bitmap');
    const sizeAt = queue.offset;
    const size = queue.u64('size of a received bitmap');
    if (size > MAX_BITMAP_BYTES || size % 8 !== 0) {
      const expected = `a multiple of 8, at most ${MAX_BITMAP_BYTES}`;
      throw queue.error(
        'limit-exceeded',
        'size of a received bitmap',
        { found: `${size}`, expected },
        sizeAt,
      );
    }
    yield* need(queue, size + 8, `a received bitmap of ${size} bytes and its end mark`);
    const bitmap = queue.take(size).slice();
    if (queue.peekU32() !== BITMAP_END_HIGH || queue.peekU32(4) !== BITMAP_END_LOW) {
      const found = hexOf(queue.peek(8));
      throw queue.error('bad-return-path', 'end mark of a received bitmap', {
        found,
        expected: '0x0123456789abcdef',
      });
    }
    queue.skip(8);
    return { type: 'recv-bitmap', block, bitmap };
  }
}
