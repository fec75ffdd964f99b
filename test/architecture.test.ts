import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

/**
 * Who may import whom: the table of docs/architecture.md. A room may import itself, what is listed for it,
 * and the files directly under core/src.
 */
const CORE_ROOMS: Record<string, readonly string[]> = {
  wire: [],
  memory: [],
  control: [],
  guest: ['wire', 'memory'],
  transport: ['wire', 'memory'],
  capture: ['wire', 'memory', 'guest'],
  outgoing: ['wire', 'memory', 'control', 'guest', 'transport'],
  incoming: ['wire', 'memory', 'control', 'guest', 'transport'],
  qmp: ['transport', 'control'],
  /** Asks the source's own class when it stops the guest. */
  forecast: ['wire', 'memory', 'outgoing'],
  /** Stand-ins for the rooms' own tests; not published. */
  testing: ['wire', 'memory', 'control', 'guest', 'transport', 'outgoing', 'incoming'],
};
/** Rooms that also run in a browser. */
const WITHOUT_NODE = ['wire', 'memory', 'forecast'];
const PACKAGES: Record<string, readonly string[]> = {
  core: [],
  workers: ['core'],
  cli: ['core', 'workers'],
};

const root = fileURLToPath(new URL('..', import.meta.url));

function importsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const found = text.matchAll(/^\s*(?:import|export)\b[^'";]*?from\s+'([^']+)'|\bimport\(\s*'([^']+)'/gms);
  return Array.from(found, (match) => (match[1] ?? match[2])!);
}

function sources(packageName: string): string[] {
  const files = globSync(`packages/${packageName}/src/**/*.ts`, { cwd: root });
  return files.filter((file) => !file.endsWith('.test.ts')).map((file) => join(root, file));
}

function roomOf(file: string): string {
  const [room, ...rest] = relative(join(root, 'packages/core/src'), file).split(sep);
  return rest.length === 0 ? '' : room!;
}

for (const [name, allowed] of Object.entries(PACKAGES)) {
  test(`package ${name} imports only ${allowed.join(', ') || 'nothing of ours'}`, () => {
    const files = sources(name);
    assert.ok(files.length > 0);
    for (const file of files) {
      for (const specifier of importsOf(file)) {
        const other = /^(?:@pageferry\/)(\w+)/.exec(specifier)?.[1];
        if (other === undefined) continue;
        assert.ok(allowed.includes(other), `${relative(root, file)} imports ${specifier}`);
      }
    }
  });
}

test('the rooms of core import only what their table allows', () => {
  const seen = new Set<string>();
  for (const file of sources('core')) {
    const room = roomOf(file);
    if (room === '') continue;
    seen.add(room);
    const allowed = CORE_ROOMS[room];
    assert.ok(allowed !== undefined, `room ${room} is not in the table`);
    for (const specifier of importsOf(file)) {
      if (!specifier.startsWith('.')) {
        const node = WITHOUT_NODE.includes(room) ? /^node:/.test(specifier) : false;
        assert.ok(!node, `${relative(root, file)} imports ${specifier}, but ${room}/ runs in browsers`);
        continue;
      }
      const other = roomOf(join(dirname(file), specifier));
      const fine = other === '' || other === room || allowed.includes(other);
      assert.ok(fine, `${relative(root, file)} imports ${specifier}`);
    }
  }
  assert.deepEqual([...seen].sort(), Object.keys(CORE_ROOMS).sort());
});
