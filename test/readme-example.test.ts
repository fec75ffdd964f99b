import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

/** The library's example: it runs, and it is the one that the README shows. */

const example = new URL('../packages/cli/examples/migrate.ts', import.meta.url);

test("the README's library example migrates a guest", { timeout: 60_000 }, async (t) => {
  const log = t.mock.method(console, 'log', () => {});
  await import('../packages/cli/examples/migrate.ts');
  const lines = log.mock.calls.map((call) => String(call.arguments[0]));
  assert.ok(lines.some((line) => /^active: \d+ of \d+ bytes left$/.test(line)));
  assert.match(lines.at(-2)!, /^the guest stood still for \d+\.\d ms$/);
  assert.equal(lines.at(-1), 'no write was lost');
});

test('the README shows that very file', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  assert.ok(readme.includes(`\`\`\`ts\n${readFileSync(example, 'utf8')}\`\`\`\n`));
});
