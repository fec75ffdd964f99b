import { constants, open } from 'node:fs/promises';
import { MigrationError } from '../error.ts';
import { fileError } from '../file-error.ts';
import { RamBlock, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { isZeroPage } from '../memory/zero-page.ts';
import { writeFully } from './atomic-file.ts';
import { CaptureFile } from './capture-file.ts';
import { scanSlices } from './non-zero-runs.ts';

/**
 * RAM blocks that are files, by the block's name: what a QEMU maps with `memory-backend-file,share=on`. With
 * x-ignore-shared such memory is not sent; whoever has the file has the content.
 */
export type SharedFiles = Readonly<Record<string, string>>;

const RUN_PAGES = (4 * 1024 * 1024) / TARGET_PAGE_BYTES;

/** The blocks that have files, with their paths. @throws MigrationError `unknown-block` for a name without block */
export function blocksOfFiles(
  blocks: readonly RamBlock[],
  files: SharedFiles,
): [block: RamBlock, path: string][] {
  return Object.entries(files).map(([name, path]) => {
    const block = blocks.find(({ idstr }) => idstr === name);
    if (block !== undefined) return [block, path];
    throw new MigrationError('unknown-block', 'a file was given for a RAM block that is not there', {
      found: name,
      expected: `one of ${blocks.map(({ idstr }) => idstr).join(', ')}`,
    });
  });
}

/**
 * Makes sure that a file can be a block's memory.
 * @throws MigrationError `file-failed`, `bad-file`, `block-mismatch` when it has another size
 */
export async function checkSharedFile(block: RamBlock, path: string): Promise<void> {
  const file = await openSized(block, path);
  await file.close();
}

/** Fills a block from its file. @throws MigrationError as `checkSharedFile` */
export async function readSharedFile(block: RamBlock, path: string): Promise<void> {
  const file = await openSized(block, path);
  try {
    for (let at = 0; at < block.usedLengthBytes; at += RUN_PAGES * TARGET_PAGE_BYTES) {
      const end = Math.min(block.usedLengthBytes, at + RUN_PAGES * TARGET_PAGE_BYTES);
      await file.readFully(block.bytes.subarray(at, end), at, `the memory of ${block.idstr}`);
    }
  } finally {
    await file.close();
  }
}

/**
 * Gives blocks the files that a destination has mapped: their content is written there, unless it never was anywhere
 * else. A file that is there keeps its place and its size, so that a QEMU may have it mapped already.
 *
 * @returns the blocks, those with files as shared ones
 * @throws MigrationError `unknown-block`, `file-failed`, `block-mismatch`
 */
export async function shareBlocks(blocks: readonly RamBlock[], files: SharedFiles): Promise<RamBlock[]> {
  const paths = new Map(blocksOfFiles(blocks, files));
  for (const [block, path] of paths) {
    if (block.elsewhere) await checkSharedFile(block, path);
    else await writeSharedFile(block, path);
  }
  return blocks.map((block) =>
    paths.has(block) ? new RamBlock({ ...block.toMemory(), shared: true }) : block,
  );
}

async function writeSharedFile(block: RamBlock, path: string): Promise<void> {
  const { bytes, idstr, usedLengthBytes } = block;
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600).catch((error) => {
    throw fileError(error, path, `open ${path}`);
  });
  try {
    const { size } = await handle.stat();
    if (size === 0) await handle.truncate(usedLengthBytes);
    else if (size !== usedLengthBytes) throw otherSize(idstr, path, size, usedLengthBytes);
    for await (const slice of scanSlices(block.pageCount)) {
      for (let first = slice.from; first < slice.end; ) {
        // Runs of zero pages and of others: a new file has its zeros already.
        const zero = isZeroPage(bytes, first * TARGET_PAGE_BYTES);
        let end = first + 1;
        while (
          end < Math.min(slice.end, first + RUN_PAGES) &&
          isZeroPage(bytes, end * TARGET_PAGE_BYTES) === zero
        )
          end++;
        const run = bytes.subarray(first * TARGET_PAGE_BYTES, end * TARGET_PAGE_BYTES);
        if (!zero || size > 0) await writeFully(handle, path, run, first * TARGET_PAGE_BYTES);
        first = end;
      }
    }
  } catch (error) {
    throw fileError(error, path, `write ${path}`);
  } finally {
    await handle.close();
  }
}

async function openSized({ idstr, usedLengthBytes }: RamBlock, path: string): Promise<CaptureFile> {
  const file = await CaptureFile.open(path);
  if (file.sizeBytes === usedLengthBytes) return file;
  await file.close();
  throw otherSize(idstr, path, file.sizeBytes, usedLengthBytes);
}

function otherSize(idstr: string, path: string, found: number, expected: number): MigrationError {
  return new MigrationError('block-mismatch', `the file of RAM block ${idstr} has another size`, {
    channel: path,
    found: `${found} bytes`,
    expected: `${expected}`,
  });
}
