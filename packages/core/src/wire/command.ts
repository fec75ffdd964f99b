import { MigrationError } from '../error.ts';
import { type ByteQueue, need } from './byte-queue.ts';
import { ByteWriter } from './byte-writer.ts';
import { Command, SectionType } from './messages.ts';
import { hexOf } from './text.ts';

/*
 * Command, no footer:
 *   u8 0x08, be16 command, be16 payload length, payload
 * PACKAGED (payload: be32 length) is followed by that many bytes, which its payload does not count.
 */

/** Legal payload lengths by command. */
const PAYLOAD_BYTES: ReadonlyMap<number, (bytes: number) => boolean> = new Map([
  [Command.openReturnPath, (bytes) => bytes === 0],
  [Command.ping, (bytes) => bytes === 4],
  [Command.postcopyAdvise, (bytes) => bytes === 0 || bytes === 16],
  [Command.postcopyListen, (bytes) => bytes === 0],
  [Command.postcopyRun, (bytes) => bytes === 0],
  // Version, cstr8 name and NUL, then at least one range of 16 bytes.
  [Command.postcopyRamDiscard, (bytes) => bytes >= 20],
  [Command.packaged, (bytes) => bytes === 4],
  [Command.enableColo, (bytes) => bytes === 0],
  [Command.postcopyResume, (bytes) => bytes === 0],
  [Command.recvBitmap, (bytes) => bytes >= 2 && bytes <= 256],
  [Command.switchoverStart, (bytes) => bytes === 0],
]);

/** Whether a command with this payload length exists. */
export function isLegalCommand(command: number, payloadBytes: number): boolean {
  return PAYLOAD_BYTES.get(command)?.(payloadBytes) ?? false;
}

/** @throws MigrationError `bad-option` when there is no such command with a payload of that length */
export function encodeCommand(
  command: number,
  payload: Uint8Array = new Uint8Array(0),
): Uint8Array<ArrayBuffer> {
  if (!isLegalCommand(command, payload.length)) {
    throw new MigrationError('bad-option', `there is no command ${command} with ${payload.length} bytes`);
  }
  return new ByteWriter().u8(SectionType.command).u16(command).u16(payload.length).bytes(payload).finish();
}

/** PING: the destination answers PONG with the same value. */
export function encodePing(value: number): Uint8Array<ArrayBuffer> {
  return encodeCommand(Command.ping, new ByteWriter().u32(value).finish());
}

/** Reads what follows the type byte. @throws MigrationError `bad-command` */
export function* decodeCommand(
  queue: ByteQueue,
): Generator<undefined, { command: number; payload: Uint8Array<ArrayBuffer> }> {
  yield* need(queue, 2, 'a command');
  const command = (queue.peekU8(0) << 8) | queue.peekU8(1);
  if (!PAYLOAD_BYTES.has(command)) {
    throw queue.error('bad-command', 'unknown command', { found: `${command}`, expected: '1 to 11' });
  }
  yield* need(queue, 4, `the payload length of command ${command}`);
  const length = queue.peekU32() & 0xffff;
  if (!isLegalCommand(command, length)) {
    throw queue.error(
      'bad-command',
      `payload length of command ${command} (${commandName(command)})`,
      { found: `${length}` },
      queue.offset + 2,
    );
  }
  queue.skip(4);
  yield* need(queue, length, `${length} bytes of payload of command ${command}`);
  const payload = Uint8Array.from(queue.take(length));
  if (command === Command.recvBitmap && payload[0] !== length - 1) {
    const found = hexOf(payload);
    throw queue.error('bad-command', 'block name in RECV_BITMAP', { found }, queue.offset - length);
  }
  return { command, payload };
}

/** QEMU's name of a command, such as `SWITCHOVER_START`, for messages. */
export function commandName(command: number): string {
  const name = Object.entries(Command).find(([, value]) => value === command)?.[0];
  return name?.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase() ?? `command ${command}`;
}
