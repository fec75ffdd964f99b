import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '../error.ts';

/**
 * A temporary folder for a test file; at the file's end it is removed, and nothing that the tests opened
 * (sockets, processes, timers) may be left.
 */
export function folderWithoutLeftovers(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `pageferry-${name}-`));
  const before = resources();
  after(async () => {
    rmSync(folder, { recursive: true });
    for (let i = 0; i < 200 && resources() !== before; i++) await delay(10);
    assert.equal(resources(), before, 'nothing is left open');
  });
  return folder;
}

function resources(): string {
  const counted = /TCP|Pipe|Process|Timeout|FSReq|Message/;
  return process
    .getActiveResourcesInfo()
    .filter((name) => counted.test(name))
    .sort()
    .join();
}

/** Threads of this process. */
export function threads(): number {
  return readdirSync('/proc/self/task').length;
}

/** Waits until there are no more threads than that: an ended one takes a moment to go. */
export async function assertThreadsGone(most: number, message: string): Promise<void> {
  for (let i = 0; i < 400 && threads() > most; i++) await delay(25);
  assert.ok(threads() <= most, `${message}: ${threads()} threads, ${most} before`);
}

/** The MigrationError with which a promise rejects; anything else fails the test. */
export async function rejection(promise: Promise<unknown>): Promise<MigrationError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof MigrationError, String(error));
    return error;
  }
  assert.fail('it was fulfilled');
}
