import assert from 'node:assert/strict';
import test from 'node:test';
import { applyLiveParameters, resolveMigrateOptions } from './options.ts';

const bad = (message: RegExp) => ({ code: 'bad-option', message });

test('xbzrle goes with neither multifd nor mapped-ram', () => {
  assert.throws(() => resolveMigrateOptions({ xbzrle: true, multifd: true }), bad(/multifd .*xbzrle/));
  assert.throws(() => resolveMigrateOptions({ xbzrle: true, mappedRam: true }), bad(/mapped-ram .*xbzrle/));
  resolveMigrateOptions({ xbzrleCacheSizeBytes: 4096, multifd: true });
});

test('the size of the xbzrle cache is a power of two, also when it is changed', () => {
  for (const size of [0, 1, 2048, 4097, 12_288, 2 ** 52 + 1, 4096.5, Number.NaN]) {
    assert.throws(() => resolveMigrateOptions({ xbzrleCacheSizeBytes: size }), bad(/xbzrle-cache-size/));
  }
  const live = resolveMigrateOptions({ xbzrle: true, xbzrleCacheSizeBytes: 2 ** 52 });
  assert.throws(() => applyLiveParameters(live, { xbzrleCacheSizeBytes: 5 }), bad(/found 5, .*power of two/));
  assert.equal(live.xbzrleCacheSizeBytes, 2 ** 52);
  applyLiveParameters(live, { xbzrleCacheSizeBytes: 4096 });
  assert.equal(live.xbzrleCacheSizeBytes, 4096);
});
