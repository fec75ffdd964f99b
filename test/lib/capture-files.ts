import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MigrationError } from '@pageferry/core';
import { type Capture, loadCapture } from '@pageferry/core/capture';
import {
  assertRamMatches,
  type Fixture,
  findFixture,
  listFixtures,
  readConnection,
  readImage,
} from './fixtures.ts';

/** A folder that is gone after the test: `await using folder = await TemporaryFolder.create()`. */
export class TemporaryFolder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async create(): Promise<TemporaryFolder> {
    return new TemporaryFolder(await mkdtemp(join(tmpdir(), 'pageferry-capture-')));
  }

  file(name: string): string {
    return join(this.path, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

/** What a fixture has as a file: its mapped-ram image, or the bytes of its main channel. */
export function captureBytes(fixture: Fixture): Uint8Array {
  return readImage(fixture) ?? readConnection(fixture, 0);
}

/** A whole machine in one file: not spread over channels, all of its memory there, and without a part that is refused. */
export function isLoadable(fixture: Fixture): boolean {
  const refused = ['multifd', 'postcopy-ram', 'dirty-bitmaps', 'x-ignore-shared'];
  return (
    fixture.stream_complete &&
    !fixture.description.startsWith('block migration') &&
    (fixture.connections.length === 0 || !fixture.capabilities.some((name) => refused.includes(name)))
  );
}

export function loadableFixtures(): Fixture[] {
  return listFixtures().filter(isLoadable);
}

/** Writes the fixture into the folder as a capture file. */
export async function placeFixture(folder: TemporaryFolder, path: string): Promise<string> {
  const file = folder.file(path.replaceAll('/', '-'));
  await writeFile(file, captureBytes(findFixture(path)));
  return file;
}

export async function loadFixture(folder: TemporaryFolder, path: string): Promise<Capture> {
  return loadCapture(await placeFixture(folder, path));
}

/** RAM is what was recorded at the destination, block by block. */
export function assertRecordedRam(fixture: Fixture, capture: Capture): void {
  const expected = Object.keys(fixture.expected_ram).sort();
  assert.deepEqual(capture.memory.map((block) => block.idstr).sort(), expected);
  for (const block of capture.memory) assertRamMatches(fixture, block.idstr, block.bytes);
}

/** Everything that a capture carries, but for the file that it came from. */
export function assertSameMachine(found: Capture, expected: Capture): void {
  const { capabilities: _found, ...foundConfiguration } = found.configuration;
  const { capabilities: _expected, ...expectedConfiguration } = expected.configuration;
  assert.deepEqual(foundConfiguration, expectedConfiguration);
  assert.equal(found.ramSectionId, expected.ramSectionId);
  assert.deepEqual(found.deviceState, expected.deviceState);
  assert.equal(found.proven, expected.proven);
  assert.deepEqual(
    found.memory.map((block) => [block.idstr, block.usedLengthBytes]),
    expected.memory.map((block) => [block.idstr, block.usedLengthBytes]),
  );
  for (const [index, block] of found.memory.entries()) {
    assert.ok(Buffer.compare(block.bytes, expected.memory[index]!.bytes) === 0, `${block.idstr} differs`);
  }
}

/** Numbers that are the same in every run. */
export function sequence(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** The error that loading gives, or undefined when it loads; anything but a coded error with its place fails. */
export async function loadError(path: string, what: string): Promise<MigrationError | undefined> {
  try {
    await loadCapture(path);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof MigrationError, `${what}: ${error}`);
    assert.notEqual(error.code, 'internal', what);
    assert.equal(error.channel, path, what);
    assert.equal(typeof error.offset, 'number', `${what}: ${error.message} has no offset`);
    return error;
  }
}
