import { MigrationError } from '../error.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import { Command, type StreamMessage } from '../wire/messages.ts';
import { encodeReturnPath } from '../wire/return-path.ts';

/** Commands that belong to features that are refused, with the capability that turns them on. */
const REFUSED: ReadonlyMap<number, string> = new Map([
  [Command.postcopyAdvise, 'postcopy (capability postcopy-ram or dirty-bitmaps)'],
  [Command.postcopyListen, 'postcopy (capability postcopy-ram)'],
  [Command.postcopyRun, 'postcopy (capability postcopy-ram)'],
  [Command.postcopyRamDiscard, 'postcopy (capability postcopy-ram)'],
  [Command.packaged, 'postcopy (capability postcopy-ram)'],
  [Command.postcopyResume, 'postcopy recovery'],
  [Command.recvBitmap, 'postcopy recovery'],
  [Command.enableColo, 'COLO (capability x-colo)'],
]);

/**
 * Acts on a COMMAND of the source.
 * @returns true when the return path is open from now on
 * @throws MigrationError `unsupported`, `bad-command`
 */
export function handleCommand(
  message: Extract<StreamMessage, { type: 'command' }>,
  main: ByteChannel,
  returnPathOpen: boolean,
  offset: number,
): boolean {
  const at = { channel: main.name, offset };
  switch (message.command) {
    case Command.openReturnPath:
      if (!main.duplex) {
        throw new MigrationError('bad-command', 'the source opens a return path on a one-way transport', at);
      }
      return true;
    case Command.ping: {
      if (!returnPathOpen) throw new MigrationError('bad-command', 'PING without a return path', at);
      const { payload } = message;
      const value = new DataView(payload.buffer, payload.byteOffset, payload.byteLength).getUint32(0);
      main.write(encodeReturnPath({ type: 'pong', value }));
      return false;
    }
    case Command.switchoverStart:
      return false;
    default: {
      const feature = REFUSED.get(message.command);
      if (feature === undefined) {
        throw new MigrationError('bad-command', 'an unknown command', {
          ...at,
          found: `command ${message.command}`,
        });
      }
      throw new MigrationError('unsupported', `the source uses ${feature}, which is not supported`, at);
    }
  }
}
