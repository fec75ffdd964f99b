import assert from 'node:assert/strict';
import test from 'node:test';
import { parametersDocument, readParametersDoc } from '../scripts/docs-parameters.ts';

test('docs/parameters.md is what the tables say', async () => {
  const [written, made] = [await readParametersDoc(), parametersDocument()].map((text) => text.split('\n'));
  const changed = made!.filter((line) => !written!.includes(line));
  assert.deepEqual(changed, [], 'npm run docs:parameters writes it anew');
  assert.equal(written!.length, made!.length);
});
