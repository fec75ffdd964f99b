import assert from 'node:assert/strict';
import test from 'node:test';
import { MigrationError } from '@pageferry/core';
import { Output, type TextStream } from './output.ts';

class Recorder implements TextStream {
  text = '';
  readonly isTTY: boolean;
  readonly columns = 80;
  constructor(isTTY = false) {
    this.isTTY = isTTY;
  }
  write(text: string): void {
    this.text += text;
  }
}

function outputs(json: boolean, isTTY = false): { output: Output; stdout: Recorder; stderr: Recorder } {
  const stdout = new Recorder(isTTY);
  const stderr = new Recorder(isTTY);
  return { output: new Output(json, stdout, stderr), stdout, stderr };
}

test('with --json stdout holds only JSON lines', () => {
  const { output, stdout, stderr } = outputs(true);
  output.event('listening', { address: 'tcp:127.0.0.1:1', uuid: Uint8Array.of(1, 255) });
  output.result('done');
  output.note('by the way');
  assert.equal(stdout.text, '{"event":"listening","address":"tcp:127.0.0.1:1","uuid":"01ff"}\n');
  assert.equal(stderr.text, 'done\nby the way\n');
});

test('without --json results go to stdout and there are no events', () => {
  const { output, stdout, stderr } = outputs(false);
  output.event('progress', { x: 1 });
  output.result('done');
  output.note('by the way');
  assert.equal(stdout.text, 'done\n');
  assert.equal(stderr.text, 'by the way\n');
});

test('the status line redraws, and is gone before other text', () => {
  const { output, stderr } = outputs(false, true);
  output.status('10 %');
  output.status('20 %');
  output.note('warning');
  output.status('30 %');
  output.status('');
  assert.equal(stderr.text, '\r10 %\x1b[K\r20 %\x1b[K\r\x1b[Kwarning\n\r30 %\x1b[K\r\x1b[K');
  const plain = outputs(false);
  plain.output.status('10 %');
  assert.equal(plain.stderr.text, '');
});

test('an error is one line for people, one for machines, and an exit code', () => {
  const { output, stdout, stderr } = outputs(true);
  const error = new MigrationError('truncated', 'the stream ended', {
    channel: 'multifd 1',
    offset: 64,
    phase: 'active',
  });
  assert.equal(output.error(error), 1);
  assert.equal(stderr.text, 'pageferry: the stream ended (at byte 64 of multifd 1)\n');
  const line = JSON.parse(stdout.text);
  assert.equal(line.event, 'error');
  assert.deepEqual(
    [line.error.code, line.error.phase, line.error.channel, line.error.offset],
    ['truncated', 'active', 'multifd 1', 64],
  );
});

test('bad arguments have an exit code of their own, a defect shows its place', () => {
  assert.equal(outputs(false).output.error(new MigrationError('bad-option', 'no')), 2);
  assert.equal(outputs(false).output.error(new MigrationError('bad-uri', 'no')), 2);
  const { output, stderr } = outputs(false);
  assert.equal(output.error(new TypeError('x is\nnot y')), 1);
  assert.match(stderr.text, /^pageferry: x is not y\n.*output\.test/s);
});
