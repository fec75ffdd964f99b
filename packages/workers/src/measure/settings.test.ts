import assert from 'node:assert/strict';
import test from 'node:test';
import { MigrationError } from '@pageferry/core';
import { CODECS } from '../codecs/registry.ts';
import { listSettings, type Selection } from './settings.ts';

const QUICK: Selection = { thorough: false, cpus: 2 };

function names(selection: Partial<Selection>): string[] {
  return listSettings({ ...QUICK, ...selection }).map(
    ({ codec, level = '', backend = '', packetPages, threads }) =>
      `${codec} ${level} ${backend} ${packetPages} ${threads}`,
  );
}

test('by default every codec with its usual backend, one thread and one per CPU', () => {
  const found = listSettings(QUICK);
  assert.deepEqual([...new Set(found.map(({ codec }) => codec))], ['none', 'lz4', 'zlib', 'zstd']);
  for (const { codec, backend, packetPages } of found) {
    assert.equal(backend, CODECS[codec].compressBackends[0]);
    assert.equal(packetPages, 128);
  }
  assert.deepEqual([...new Set(found.map(({ threads }) => threads))], [1, 2]);
});

test('thorough: all backends, and threads in powers of two', () => {
  const found = listSettings({ thorough: true, cpus: 6 });
  for (const codec of ['zlib', 'zstd', 'lz4'] as const) {
    const backends = new Set(found.filter((one) => one.codec === codec).map(({ backend }) => backend));
    assert.deepEqual([...backends], CODECS[codec].compressBackends);
  }
  assert.deepEqual([...new Set(found.map(({ threads }) => threads))], [1, 2, 4, 6]);
  const most = listSettings({ thorough: true, cpus: 128 }).map(({ threads }) => threads);
  assert.equal(Math.max(...most), 8);
});

test('all combinations of what is asked for, as far as they exist', () => {
  assert.deepEqual(
    names({
      codecs: ['none', 'zlib', 'zstd'],
      backends: ['minizlib'],
      levels: [1, 19],
      packetPages: [128, 32],
      threads: [3],
    }),
    [
      'none   128 3',
      'none   32 3',
      'zlib 1 minizlib 128 3',
      'zlib 1 minizlib 32 3',
      'zstd 1 minizlib 128 3',
      'zstd 1 minizlib 32 3',
      'zstd 19 minizlib 128 3',
      'zstd 19 minizlib 32 3',
    ],
  );
  assert.deepEqual(names({ codecs: ['zstd', 'zstd'], levels: [1, 1], threads: [1, 1] }).length, 1);
});

test('what is asked for and is in nothing is refused', () => {
  const wrong: [Partial<Selection>, RegExp][] = [
    [{ backends: ['pako'], codecs: ['zstd'] }, /zstd/],
    [{ backends: ['pako', 'lz4-napi'], codecs: ['zlib'] }, /lz4-napi/],
    [{ levels: [21] }, /21|zlib/],
    [{ levels: [1, 15], codecs: ['zlib'] }, /15/],
    [{ threads: [0] }, /threads/],
    [{ threads: [256] }, /threads/],
    [{ packetPages: [129] }, /packet-pages/],
    [{ packetPages: [0.5] }, /packet-pages/],
  ];
  for (const [selection, message] of wrong) {
    assert.throws(
      () => listSettings({ ...QUICK, ...selection }),
      (error) => {
        assert.ok(error instanceof MigrationError);
        assert.equal(error.code, 'bad-option');
        assert.match(error.message, message);
        return true;
      },
    );
  }
});
