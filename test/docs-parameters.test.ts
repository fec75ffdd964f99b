import assert from 'node:assert/strict';
import test from 'node:test';
import { parametersDocument, readParametersDoc } from '../scripts/docs-parameters.ts';

test('docs/parameters.md is what the tables say (npm run docs:parameters)', async () => {
  assert.equal(await readParametersDoc(), parametersDocument());
});
