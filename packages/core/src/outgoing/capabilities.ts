import type { ResolvedMigrateOptions } from '../control/options.ts';
import { MigrationError } from '../error.ts';
import type { RamBlockMemory } from '../memory/ram-block.ts';

/**
 * Without x-ignore-shared every block is sent, so its content must be here.
 * @throws MigrationError `bad-option`
 */
export function checkContent(blocks: readonly RamBlockMemory[]): void {
  const missing = blocks.filter((block) => block.elsewhere === true).map(({ idstr }) => idstr);
  if (missing.length === 0) return;
  throw new MigrationError('bad-option', `the guest can only go with capability x-ignore-shared`, {
    found: `no content of ${missing.join(', ')}: it was shared, and stayed where it was`,
    expected: 'x-ignore-shared, and a destination that has this memory',
  });
}

/** What was asked for and does nothing for this guest, as in QEMU: one sentence each. */
export function withoutEffect(options: ResolvedMigrateOptions, uuid: Uint8Array | undefined): string[] {
  const sentences: string[] = [];
  if (options.validateUuid && uuid === undefined) {
    sentences.push('validate-uuid: the guest has no UUID, so none is compared');
  }
  if (options.releaseRam) {
    sentences.push(
      'release-ram: memory is freed in postcopy alone; in precopy the guest may have to go on here',
    );
  }
  return sentences;
}
