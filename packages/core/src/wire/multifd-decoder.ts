import { need } from './byte-queue.ts';
import {
  checkMultifdPacketHead,
  createMultifdPacket,
  decodeMultifdHandshake,
  decodeMultifdPacket,
  MULTIFD_HANDSHAKE_BYTES,
  MULTIFD_PACKET_BYTES,
  type MultifdPacket,
} from './multifd.ts';
import { QueueDecoder } from './queue-decoder.ts';

/** `packet` is one reused object, and `payload` a view that is valid until the next call of `next()`. */
export type MultifdMessage =
  | { readonly type: 'handshake'; readonly channel: number; readonly uuid: Uint8Array }
  | { readonly type: 'packet'; readonly packet: MultifdPacket; payload: Uint8Array };

const NO_BYTES = new Uint8Array(0);

/**
 * Decodes one multifd channel from chunks of any size, with the errors of `decodeMultifdHandshake` and
 * `decodeMultifdPacket`. A channel may end (`end()`) between two packets; `done` is true then.
 */
export class MultifdDecoder extends QueueDecoder<MultifdMessage> {
  #done = false;

  constructor(channelName: string) {
    super(channelName);
  }

  /** The channel ended at a packet's end. */
  get done(): boolean {
    return this.#done;
  }

  protected override *decode(): Generator<MultifdMessage | undefined, void> {
    const queue = this.queue;
    yield* need(queue, MULTIFD_HANDSHAKE_BYTES, 'a multifd handshake of 64 bytes');
    const { channel, uuid } = decodeMultifdHandshake(queue.peek(MULTIFD_HANDSHAKE_BYTES), queue.channel);
    queue.skip(MULTIFD_HANDSHAKE_BYTES);
    yield { type: 'handshake', channel, uuid };
    const packet = createMultifdPacket();
    const message = { type: 'packet' as const, packet, payload: NO_BYTES as Uint8Array };
    for (;;) {
      while (!queue.has(1)) {
        if (queue.ended) {
          this.#done = true;
          return;
        }
        yield undefined;
      }
      yield* need(queue, 12, 'a multifd packet header');
      checkMultifdPacketHead(queue.peek(12), queue);
      yield* need(queue, MULTIFD_PACKET_BYTES, 'the rest of a multifd packet header');
      decodeMultifdPacket(queue.peek(MULTIFD_PACKET_BYTES), packet, queue);
      queue.skip(MULTIFD_PACKET_BYTES);
      yield* need(queue, packet.payloadBytes, `a payload of ${packet.payloadBytes} bytes`);
      message.payload = packet.payloadBytes === 0 ? NO_BYTES : queue.take(packet.payloadBytes);
      yield message;
    }
  }
}
