import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { MigrationError } from '@pageferry/core';
import { RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { CODECS } from '../codecs/registry.ts';
import { Gate } from './gate.ts';
import { measureMachine } from './machine.ts';
import { measureSettings } from './measure.ts';
import { generateSource, sourceOfBlocks } from './memory-source.ts';
import type { Sample } from './sample.ts';
import { listSettings, type Setting } from './settings.ts';
import { surveyMemory } from './survey.ts';
import { measureTransport } from './transport.ts';

const options = { timeout: 60_000 };
/** Once through the sample: what is tested is what comes out, not how fast. */
const ONCE = { turnMs: 0, roundLimitMs: 60_000, turns: 1 };

async function mixSample(bytes: number): Promise<Sample> {
  return (await surveyMemory(await generateSource(bytes), { sampleBytes: bytes })).sample;
}

async function randomSample(pages: number): Promise<Sample> {
  const block = RamBlock.allocate('random', pages * TARGET_PAGE_BYTES);
  block.bytes.set(randomBytes(block.bytes.length));
  return (await surveyMemory(sourceOfBlocks([block], 'image', 'random'), { sampleBytes: block.bytes.length }))
    .sample;
}

function setting(changes: Partial<Setting>): Setting {
  return {
    codec: 'zstd',
    backend: CODECS.zstd.compressBackends[0],
    level: 1,
    packetPages: 128,
    threads: 1,
    ...changes,
  };
}

test('every codec and backend goes through the sample, on one thread and on more', options, async () => {
  const sample = await mixSample(8 * 2 ** 20);
  const settings = listSettings({ thorough: true, cpus: 1, threads: [1, 3], levels: [1] });
  const measured = await measureSettings(sample, settings, ONCE);
  assert.equal(measured.length, settings.length);
  for (const [index, one] of measured.entries()) {
    const name = `${one.codec} ${one.backend} ${one.threads}`;
    assert.deepEqual(
      { codec: one.codec, backend: one.backend, level: one.level, threads: one.threads },
      {
        codec: settings[index]!.codec,
        backend: settings[index]!.backend,
        level: settings[index]!.level,
        threads: settings[index]!.threads,
      },
    );
    assert.equal(one.pages, sample.pageCount, name);
    assert.equal(one.rounds, 1, name);
    for (const value of [one.compressBytesPerSecond, one.decompressBytesPerSecond]) {
      assert.ok(value > 0 && Number.isFinite(value), name);
    }
    assert.ok(one.compressCpuSecondsPerByte > 0 && one.decompressCpuSecondsPerByte >= 0, name);
    if (one.codec === 'none') assert.equal(one.ratio, 1, name);
    // A mix with 7 % noise: nobody finds less than a third to save, nor more than three quarters.
    else assert.ok(one.ratio > 1.3 && one.ratio < 4, `${name}: ${one.ratio}`);
  }
});

test('a higher level saves more, and larger packets do too', options, async () => {
  const sample = await mixSample(4 * 2 ** 20);
  const zlib = { codec: 'zlib', backend: 'minizlib' } as const;
  const [fast, slow, zstdFast, zstdSlow, whole, small] = await measureSettings(
    sample,
    [
      setting({ ...zlib, level: 1 }),
      setting({ ...zlib, level: 9 }),
      setting({ level: 1 }),
      setting({ level: 9 }),
      setting({ codec: 'lz4', backend: 'lz4-napi', level: undefined }),
      setting({ codec: 'lz4', backend: 'lz4-napi', level: undefined, packetPages: 1 }),
    ],
    ONCE,
  );
  assert.ok(slow!.ratio > fast!.ratio);
  assert.ok(zstdSlow!.ratio > zstdFast!.ratio);
  assert.ok(whole!.ratio > small!.ratio);
});

test('noise does not get smaller, and hardly larger', options, async () => {
  const sample = await randomSample(256);
  const settings = listSettings({ thorough: false, cpus: 1, threads: [1] });
  for (const { codec, ratio } of await measureSettings(sample, settings, ONCE)) {
    assert.ok(ratio > 0.95 && ratio <= 1, `${codec}: ${ratio}`);
  }
});

test('who runs out of time measures a part, two packets a thread at least', options, async () => {
  const sample = await mixSample(16 * 2 ** 20);
  const [one] = await measureSettings(sample, [setting({ threads: 2, level: 9 })], {
    ...ONCE,
    roundLimitMs: 0,
  });
  assert.ok(one!.pages > 0 && one!.pages < sample.pageCount, String(one!.pages));
});

test('turns and progress', options, async () => {
  const sample = await mixSample(2 ** 20);
  const settings = [setting({}), setting({ codec: 'none', backend: undefined, level: undefined })];
  const seen: string[] = [];
  const measured = await measureSettings(sample, settings, {
    ...ONCE,
    turns: 3,
    onProgress: ({ done, total, setting: { codec } }) => seen.push(`${done}/${total} ${codec}`),
  });
  assert.deepEqual(seen, ['0/6 zstd', '1/6 none', '2/6 zstd', '3/6 none', '4/6 zstd', '5/6 none']);
  assert.deepEqual(
    measured.map(({ rounds }) => rounds),
    [3, 3],
  );
});

test(
  'a setting that fails ends the measuring with its error, and threads that waited for it go on',
  options,
  async () => {
    const sample = await mixSample(2 ** 20);
    const wrong = setting({ codec: 'zlib', backend: 'minizlib', level: 99, threads: 3 });
    await assert.rejects(measureSettings(sample, [wrong], ONCE), (error) => {
      assert.ok(error instanceof MigrationError);
      assert.equal(error.code, 'bad-option');
      return true;
    });
  },
);

test('cancelled in the middle', options, async () => {
  const sample = await mixSample(16 * 2 ** 20);
  const stop = new AbortController();
  const slow = setting({ codec: 'zlib', backend: 'minizlib', level: 9, threads: 2 });
  const measuring = measureSettings(sample, [slow, slow], {
    ...ONCE,
    signal: stop.signal,
    onProgress: ({ done }) => {
      if (done === 1) setImmediate(() => stop.abort());
    },
  });
  await assert.rejects(measuring, (error) => error instanceof MigrationError && error.code === 'cancelled');
});

test('a gate opens for all at once, again and again, and can be given up', options, async () => {
  const gate = new Gate();
  const seen = new Int32Array(new SharedArrayBuffer(4));
  const code = `
    const { workerData } = require('node:worker_threads');
    import(workerData.module).then(({ Gate }) => {
      const gate = new Gate(workerData.gate);
      while (gate.pass()) Atomics.add(workerData.seen, 0, 1);
    });`;
  const workerData = { module: new URL('./gate.ts', import.meta.url).href, gate: gate.buffer, seen };
  const workers = [1, 2].map(() => new Worker(code, { eval: true, workerData }));
  const ends = workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve)));
  for (const passed of [0, 2, 4]) {
    await gate.reached(2);
    assert.equal(Atomics.load(seen, 0), passed);
    gate.open();
  }
  await gate.reached(2);
  gate.abandon();
  assert.deepEqual(await Promise.all(ends), [0, 0]);
  assert.equal(Atomics.load(seen, 0), 6);
  await gate.reached(5);
});

test('the transport and the machine have costs', options, async () => {
  const sample = await mixSample(16 * 2 ** 20);
  for (const costs of [await measureTransport(sample), measureMachine()]) {
    for (const [name, value] of Object.entries(costs)) {
      assert.ok(value > 0 && Number.isFinite(value), `${name}: ${value}`);
    }
  }
});
