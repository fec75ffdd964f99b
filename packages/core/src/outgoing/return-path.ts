import { MigrationError } from '../error.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import { ReturnPathDecoder } from '../wire/return-path.ts';

/**
 * The source's end of the return path: reads what the destination says until its SHUT, which is its verdict.
 * A destination that goes away without one has failed.
 */
export class ReturnPathReader {
  /** Resolves on SHUT 0; rejects on SHUT with another value, on anything malformed and on an early end. */
  readonly verdict: Promise<void>;
  pongs = 0;

  constructor(channel: ByteChannel) {
    this.verdict = this.#read(channel);
    this.verdict.catch(() => {});
  }

  async #read(channel: ByteChannel): Promise<void> {
    const decoder = new ReturnPathDecoder();
    for (;;) {
      const chunk = await channel.read();
      if (chunk === undefined) {
        throw new MigrationError(
          'destination-failed',
          'the destination closed the connection without a verdict',
          {
            channel: 'return-path',
            offset: decoder.offset,
            expected: 'SHUT',
          },
        );
      }
      decoder.push(chunk);
      for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
        if (message.type === 'pong') {
          this.pongs++;
        } else if (message.type === 'shut') {
          if (message.value === 0) return;
          throw new MigrationError(
            'destination-failed',
            'the destination reported that it failed to load the guest',
            {
              channel: 'return-path',
              found: `SHUT ${message.value}`,
              expected: 'SHUT 0',
            },
          );
        } else {
          throw new MigrationError('bad-return-path', 'the destination sent what was not asked for', {
            channel: 'return-path',
            offset: decoder.offset,
            found: message.type,
            expected: 'PONG or SHUT',
          });
        }
      }
    }
  }
}
