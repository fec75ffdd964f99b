import { MigrationError } from '../error.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import { ReturnPathDecoder } from '../wire/return-path.ts';

const CHANNEL = 'return-path';

/**
 * The source's end of the return path: reads what the destination says until its SHUT, which is its verdict.
 * A destination that goes away without one has failed.
 */
export class ReturnPathReader {
  /** Resolves on SHUT 0; rejects on SHUT with another value, on anything malformed and on an early end. */
  readonly verdict: Promise<void>;
  readonly #decoder = new ReturnPathDecoder();
  /** Everything was sent: nobody can have the guest before that. */
  allSent = false;
  /** Resolves when the destination agrees to the switch-over (SWITCHOVER_ACK). */
  readonly acknowledged: Promise<void>;
  #acknowledge!: () => void;
  #awaited: { readonly value: number; readonly resolve: () => void } | undefined;

  constructor(channel: ByteChannel) {
    this.acknowledged = new Promise((resolve) => {
      this.#acknowledge = resolve;
    });
    this.verdict = this.#read(channel);
    this.verdict.catch(() => {});
  }

  /** Resolves when the destination answers the PING of this value; rejects when it says anything else in the end. */
  pong(value: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#awaited = { value, resolve };
    return Promise.race([promise, this.verdict]);
  }

  async #read(channel: ByteChannel): Promise<void> {
    for (;;) {
      const chunk = await channel.read();
      if (chunk === undefined) {
        const details = { channel: CHANNEL, offset: this.#decoder.offset, expected: 'SHUT' };
        throw new MigrationError('destination-failed', 'the destination left without a verdict', details);
      }
      this.#decoder.push(chunk);
      for (let message = this.#decoder.next(); message !== undefined; message = this.#decoder.next()) {
        // PONG answers a PING; a pageferry that takes long to load the guest also sends some to be heard.
        if (message.type === 'pong') {
          if (message.value === this.#awaited?.value) this.#awaited.resolve();
          continue;
        }
        if (message.type === 'switchover-ack') {
          this.#acknowledge();
          continue;
        }
        if (message.type !== 'shut') throw this.#unexpected(message.type, 'PONG or SHUT');
        if (message.value === 0 && this.allSent) return;
        if (message.value === 0)
          throw this.#unexpected('SHUT 0 before everything was sent', 'PONG or SHUT 1');
        throw new MigrationError('destination-failed', 'the destination reported that it failed', {
          channel: CHANNEL,
          offset: this.#decoder.offset,
          found: `SHUT ${message.value}`,
          expected: 'SHUT 0',
        });
      }
    }
  }

  #unexpected(found: string, expected: string): MigrationError {
    const details = { channel: CHANNEL, offset: this.#decoder.offset, found, expected };
    return new MigrationError('bad-return-path', 'the destination said what it was not asked for', details);
  }
}
