import assert from 'node:assert/strict';
import test from 'node:test';
import { readStatesDoc, withDiagrams } from '../scripts/docs-states.ts';

test('the diagrams of docs/states.md are those of the tables (npm run docs:states)', async () => {
  const text = await readStatesDoc();
  assert.equal(text.match(/```mermaid/g)?.length, 2);
  assert.match(text, /pre_switchover --> device: migrate-continue/);
  assert.equal(withDiagrams(text), text);
});
