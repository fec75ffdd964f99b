import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { zstdDecompressSync } from 'node:zlib';
import type { MigrationInfo, QmpTimedEvent } from '@pageferry/core/qmp';

/** The recorded streams of `test/fixtures` (its README says what they are). */

const ROOT = fileURLToPath(new URL('../fixtures/', import.meta.url));
const PAGE_BYTES = 4096;
const DIGEST_BYTES = 8;

export type Direction = 's2d' | 'd2s';

/** One recorded TCP connection. */
export interface FixtureConnection {
  readonly conn: number;
  readonly kind: 'main' | 'multifd' | 'preempt';
  readonly s2d_bytes: number;
  readonly d2s_bytes: number;
  /** Methods that the packets of a multifd connection carry; SYNC packets count as `none`. */
  readonly compression?: readonly string[];
}

/** What a block must hold in the end. */
export interface ExpectedBlock {
  readonly size: number;
  /** Of the whole block, in hex. */
  readonly sha256: string;
  /** File with 8 bytes of SHA-256 per page. */
  readonly pages: string;
  /** False: the block is announced, its pages are not sent. */
  readonly in_stream: boolean;
}

/** An entry of `index.json`. */
export interface Fixture {
  /** `10.0/multifd-none`. */
  readonly path: string;
  readonly description: string;
  readonly qemu: '7.2' | '10.0';
  readonly machine: string;
  readonly capabilities: readonly string[];
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  /** Status of the source at the end. */
  readonly status_source: string;
  /** Empty for mapped-ram: there is only the file. */
  readonly connections: readonly FixtureConnection[];
  /** Number of commands by name. */
  readonly commands: Readonly<Record<string, number>>;
  /** Number of RAM records by kind. */
  readonly records: Readonly<Record<string, number>>;
  readonly stream_complete: boolean;
  readonly expected_ram: Readonly<Record<string, ExpectedBlock>>;
}

/** The parts of `meta.json` that tests use. */
export interface FixtureMeta {
  readonly qemu_source: string;
  /** The source's last `query-migrate`. */
  readonly query_migrate_source: { readonly 'xbzrle-cache'?: Readonly<Record<string, number>> };
  readonly stream_summary: {
    readonly machine: string;
    readonly uuid: string | null;
    /** Name and payload bytes of each FULL section, in stream order. */
    readonly device_sections: readonly (readonly [string, number])[];
    readonly blocks: Readonly<Record<string, number>>;
  };
}

/** All fixtures, in the order of the index. */
export function listFixtures(): Fixture[] {
  return JSON.parse(readFileSync(join(ROOT, 'index.json'), 'utf8')) as Fixture[];
}

/** The fixture with that path, such as `7.2/precopy`. */
export function findFixture(path: string): Fixture {
  const fixture = listFixtures().find((entry) => entry.path === path);
  assert.ok(fixture, `no fixture ${path}`);
  return fixture;
}

export function readMeta(fixture: Fixture): FixtureMeta {
  return JSON.parse(readFileSync(join(ROOT, fixture.path, 'meta.json'), 'utf8')) as FixtureMeta;
}

/** A line of `qmp.json`: an event, or a command with its reply. */
export interface TranscriptEntry {
  readonly side: 'src' | 'dst';
  readonly event?: QmpTimedEvent;
  readonly command?: { readonly execute: string; readonly arguments?: Readonly<Record<string, unknown>> };
  readonly reply?: { readonly return?: unknown };
}

/** The dialogue of both sides over QMP, in the order of the recording, of the fixture with that path. */
export function readTranscript(path: string): TranscriptEntry[] {
  return JSON.parse(readFileSync(join(ROOT, path, 'qmp.json'), 'utf8')) as TranscriptEntry[];
}

/** The answer to the last `query-migrate` of a side; undefined when it was not asked. */
export function lastMigrationInfo(path: string, side: TranscriptEntry['side']): MigrationInfo | undefined {
  const entries = readTranscript(path).filter((entry) => entry.side === side);
  const asked = entries.findLast(({ command }) => command?.execute === 'query-migrate');
  return asked?.reply?.return as MigrationInfo | undefined;
}

/** Every byte of one direction of a connection; empty when nothing was sent. */
export function readConnection(fixture: Fixture, conn: number, direction: Direction = 's2d'): Uint8Array {
  return readStored(fixture, `conn${conn}.${direction}`) ?? new Uint8Array(0);
}

/** The mapped-ram file, or undefined when the fixture has none. */
export function readImage(fixture: Fixture): Uint8Array | undefined {
  return readStored(fixture, 'migration.img');
}

/** The number of pages of a block, and each one's first 8 bytes of SHA-256. */
export function readPageDigests(fixture: Fixture, idstr: string): Uint8Array {
  return readFileSync(join(ROOT, fixture.path, expectedBlock(fixture, idstr).pages));
}

/**
 * Asserts that `bytes` are exactly what block `idstr` must hold, naming the first page that is not.
 * `bytes` may be a view of shared memory.
 */
export function assertRamMatches(fixture: Fixture, idstr: string, bytes: Uint8Array): void {
  const expected = expectedBlock(fixture, idstr);
  assert.equal(bytes.length, expected.size, `${fixture.path}: size of ${idstr}`);
  if (sha256(bytes).toString('hex') === expected.sha256) return;
  const digests = readPageDigests(fixture, idstr);
  for (let page = 0; page < bytes.length / PAGE_BYTES; page++) {
    const at = page * PAGE_BYTES;
    const found = sha256(bytes.subarray(at, at + PAGE_BYTES)).subarray(0, DIGEST_BYTES);
    const wanted = Buffer.from(digests.subarray(page * DIGEST_BYTES, (page + 1) * DIGEST_BYTES));
    assert.equal(
      found.toString('hex'),
      wanted.toString('hex'),
      `${fixture.path}: page ${page} of ${idstr} (at 0x${at.toString(16)}) is wrong`,
    );
  }
  assert.fail(`${fixture.path}: ${idstr} has the right pages but not the recorded SHA-256`);
}

function expectedBlock(fixture: Fixture, idstr: string): ExpectedBlock {
  const expected = fixture.expected_ram[idstr];
  assert.ok(expected, `${fixture.path} has no expected content of block ${idstr}`);
  return expected;
}

function readStored(fixture: Fixture, name: string): Uint8Array | undefined {
  const path = join(ROOT, fixture.path, name);
  if (existsSync(`${path}.zst`)) return zstdDecompressSync(readFileSync(`${path}.zst`));
  return existsSync(path) ? readFileSync(path) : undefined;
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
