import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { link, mkdir, readdir, readFile, realpath, stat, symlink, writeFile } from 'node:fs/promises';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type CaptureFormat, CaptureTarget, loadCapture, writeCapture } from '@pageferry/core/capture';
import { assertSameMachine, loadFixture, TemporaryFolder } from './lib/capture-files.ts';
import { mountTiny, unmountTiny } from './lib/tiny-disk.ts';

const FORMATS: readonly CaptureFormat[] = ['mapped-ram', 'stream'];

test('a file is private, and takes no room for zero pages', async () => {
  await using folder = await TemporaryFolder.create();
  const capture = await loadFixture(folder, '10.0/mapped-ram');
  for (const format of FORMATS) {
    const path = folder.file(format);
    await writeCapture(path, format, capture);
    const { mode, blocks } = await stat(path);
    assert.equal(mode & 0o777, 0o600);
    assert.ok(blocks * 512 < 3 * 1024 * 1024);
  }
});

test('an older file is replaced as a whole, and stays when writing fails', async () => {
  await using folder = await TemporaryFolder.create();
  const capture = await loadFixture(folder, '10.0/mapped-ram');
  const path = folder.file('capture');
  await writeFile(path, 'older');
  await link(path, folder.file('other-name'));
  const signal = AbortSignal.abort();
  await assert.rejects(writeCapture(path, 'stream', capture, { signal }), { code: 'cancelled' });
  assert.equal(await readFile(path, 'utf8'), 'older');
  await writeCapture(path, 'stream', capture);
  assertSameMachine(await loadCapture(path), capture);
  assert.equal(await readFile(folder.file('other-name'), 'utf8'), 'older');
  assert.deepEqual((await readdir(folder.path)).sort(), ['10.0-mapped-ram', 'capture', 'other-name']);
});

test('a symbolic link is followed, and what is no file is not replaced', async () => {
  await using folder = await TemporaryFolder.create();
  const capture = await loadFixture(folder, '10.0/mapped-ram');
  await mkdir(folder.file('disk'));
  await writeFile(folder.file('disk/capture'), '');
  await symlink('disk/capture', folder.file('link'));
  await writeCapture(folder.file('link'), 'stream', capture);
  assert.equal(await realpath(folder.file('link')), await realpath(folder.file('disk/capture')));
  assertSameMachine(await loadCapture(folder.file('disk/capture')), capture);
  for (const path of [folder.file('disk'), '/dev/full', folder.file('nowhere/capture')]) {
    await assert.rejects(writeCapture(path, 'stream', capture), { code: 'file-failed', channel: path });
  }
  assert.deepEqual(await readdir(folder.file('disk')), ['capture']);
});

test('until the file is whole, nothing has its name', async () => {
  await using folder = await TemporaryFolder.create();
  const capture = await loadFixture(folder, '10.0/mapped-ram');
  for (const format of FORMATS) {
    const path = folder.file(format);
    let calls = 0;
    let lastDone = 0;
    const looks: Promise<string[]>[] = [];
    await writeCapture(path, format, capture, {
      onProgress: ({ doneBytes, totalBytes }) => {
        calls++;
        assert.ok(doneBytes > lastDone && doneBytes <= totalBytes);
        lastDone = doneBytes;
        looks.push(readdir(folder.path));
      },
    });
    assert.equal(lastDone, 16 * 1024 * 1024 + 128 * 1024 + 64 * 1024);
    assert.equal(calls, 3, 'once per block: all are below the step');
    const temporary = (await Promise.all(looks)).flat().filter((name) => name.startsWith(`.${format}.`));
    assert.ok(temporary.length > 0);
    assert.ok((await readdir(folder.path)).every((name) => !name.startsWith('.')));
  }
});

test('a full disk fails with its name, and leaves nothing', async (context) => {
  await using folder = await TemporaryFolder.create();
  const capture = await loadFixture(folder, '10.0/mapped-ram');
  const disk = folder.file('disk');
  await mkdir(disk);
  const missing = mountTiny(disk, 256 * 1024);
  if (missing !== undefined) return context.skip(missing);
  try {
    for (const format of FORMATS) {
      const path = `${disk}/capture`;
      await assert.rejects(writeCapture(path, format, capture), {
        code: 'file-failed',
        channel: path,
        message: /ENOSPC/,
      });
      assert.deepEqual(await readdir(disk), []);
      const target = new CaptureTarget({ path, format });
      const description = {
        configuration: capture.configuration,
        blocks: capture.memory,
        ramSectionId: capture.ramSectionId,
      };
      const { blocks } = await target.prepare(description);
      for (const [index, { buffer }] of blocks.entries()) {
        new Uint8Array(buffer).set(capture.memory[index]!.bytes);
      }
      await assert.rejects(target.load(capture.deviceState), { code: 'file-failed', message: /ENOSPC/ });
      assert.deepEqual(await readdir(disk), []);
      assert.equal(target.result, undefined);
    }
  } finally {
    unmountTiny(disk);
  }
});

test('a limit of the file size fails like a full disk', async () => {
  await using folder = await TemporaryFolder.create();
  const source = folder.file('source');
  const script = folder.file('write.ts');
  await writeCapture(source, 'stream', await loadFixture(folder, '10.0/mapped-ram'));
  const module = new URL('../packages/core/src/capture/index.ts', import.meta.url).href;
  await writeFile(
    script,
    `import { loadCapture, writeCapture } from '${module}';
     const [source, path, format] = process.argv.slice(2);
     writeCapture(path, format, await loadCapture(source)).catch(({ code, message }) =>
       console.log(JSON.stringify({ code, message })));`,
  );
  await mkdir(folder.file('out'));
  for (const format of FORMATS) {
    // SIGXFSZ ignored, or the system would kill the process.
    const command = `trap '' XFSZ; ulimit -f 512; exec "$0" "$@"`;
    const args = ['-c', command, process.execPath, script, source, folder.file('out/capture'), format];
    const { stdout } = await promisify(execFile)('bash', args, {
      cwd: fileURLToPath(new URL('.', import.meta.url)),
    });
    const { code, message } = JSON.parse(stdout);
    assert.equal(code, 'file-failed');
    assert.match(message, /EFBIG/);
    assert.deepEqual(await readdir(folder.file('out')), []);
  }
});
