import assert from 'node:assert/strict';
import test from 'node:test';
import { hex } from '../testing/wire-streams.ts';
import { ByteQueue } from './byte-queue.ts';
import { commandName, decodeCommand, encodeCommand, encodePing, isLegalCommand } from './command.ts';
import { Command } from './messages.ts';

/** Decodes what follows the type byte. */
function decode(bytes: Uint8Array) {
  const queue = new ByteQueue('main', 1);
  queue.push(bytes);
  queue.end();
  const result = decodeCommand(queue).next();
  assert.ok(result.done);
  assert.equal(queue.available, 0);
  return result.value;
}

test('every command, both ways', () => {
  const cases: [number, string, string][] = [
    [Command.openReturnPath, '', '08 0001 0000'],
    [Command.ping, '00000001', '08 0002 0004 00000001'],
    [Command.postcopyAdvise, '', '08 0003 0000'],
    [
      Command.postcopyAdvise,
      '0000000000201000 0000000000001000',
      '08 0003 0010 0000000000201000 0000000000001000',
    ],
    [Command.postcopyListen, '', '08 0004 0000'],
    [Command.postcopyRun, '', '08 0005 0000'],
    [
      Command.postcopyRamDiscard,
      '00 06 70632e72616d 00 0000000000005000 0000000000001000',
      '08 0006 0019 00 06 70632e72616d 00 0000000000005000 0000000000001000',
    ],
    [Command.packaged, '0000380d', '08 0007 0004 0000380d'],
    [Command.enableColo, '', '08 0008 0000'],
    [Command.postcopyResume, '', '08 0009 0000'],
    [Command.recvBitmap, '06 70632e72616d', '08 000a 0007 06 70632e72616d'],
    [Command.switchoverStart, '', '08 000b 0000'],
  ];
  for (const [command, payload, wire] of cases) {
    assert.deepEqual(encodeCommand(command, hex(payload)), hex(wire), wire);
    assert.deepEqual(decode(hex(wire).subarray(1)), { command, payload: hex(payload) });
  }
  assert.deepEqual(encodePing(1), hex('08 0002 0004 00000001'));
});

test('unknown commands', () => {
  assert.throws(() => decode(hex('0000 0000')), { code: 'bad-command', offset: 1, found: '0' });
  assert.throws(() => decode(hex('000c 0000')), { code: 'bad-command', offset: 1, found: '12' });
  assert.throws(() => encodeCommand(12), { code: 'bad-option' });
  assert.equal(commandName(Command.switchoverStart), 'SWITCHOVER_START');
  assert.equal(commandName(99), 'command 99');
});

test('wrong payload lengths', () => {
  const wrong: [number, number][] = [
    [Command.openReturnPath, 1],
    [Command.ping, 0],
    [Command.ping, 8],
    [Command.postcopyAdvise, 8],
    [Command.postcopyListen, 4],
    [Command.postcopyRun, 4],
    [Command.postcopyRamDiscard, 19],
    [Command.packaged, 0],
    [Command.enableColo, 1],
    [Command.postcopyResume, 1],
    [Command.recvBitmap, 1],
    [Command.recvBitmap, 257],
    [Command.switchoverStart, 4],
  ];
  for (const [command, length] of wrong) {
    const bytes = Uint8Array.of(0, command, length >> 8, length & 0xff);
    assert.throws(() => decode(bytes), { code: 'bad-command', offset: 3, found: `${length}` });
    assert.throws(() => encodeCommand(command, new Uint8Array(length)), { code: 'bad-option' });
    assert.equal(isLegalCommand(command, length), false);
  }
});

test('RECV_BITMAP whose name does not fill its payload', () => {
  assert.throws(() => decode(hex('000a 0007 05 70632e72616d')), { code: 'bad-command', offset: 5 });
});

test('a command that is cut anywhere', () => {
  const bytes = hex('0002 0004 00000001');
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => decode(bytes.subarray(0, length)), { code: 'truncated', offset: 1 + length });
  }
});
