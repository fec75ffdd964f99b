import type { ResolvedReceiveOptions } from '../control/options.ts';
import { MigrationError } from '../error.ts';
import type { RamBlockMemory } from '../memory/ram-block.ts';
import { IGNORE_SHARED_CAPABILITY } from '../wire/configuration.ts';
import type { ConfigurationSection, RamBlockDescriptor } from '../wire/messages.ts';
import { formatUuid, sameUuid } from '../wire/uuid.ts';

/*
 * What both sides must agree on before a page may move: the machine, the capabilities that change the stream, the
 * guest's UUID, and the RAM blocks.
 */

/** What is said of the destination. */
interface Local {
  readonly options: ResolvedReceiveOptions;
  /** The UUID that the guest must have, if one is known. */
  readonly uuid: Uint8Array | undefined;
}

/**
 * Compares the source's configuration with what was asked for here, as QEMU does: the source's machine name may
 * be a beginning of the one here, and a capability that changes the stream is on at both sides or at neither.
 * @throws MigrationError `bad-configuration`, `unsupported`, `uuid-mismatch`
 */
export function checkConfiguration(configuration: ConfigurationSection, local: Local, offset: number): void {
  const at = { channel: 'main', offset };
  const { options } = local;
  const { machine, capabilities = [], uuid } = configuration;
  if (options.machine !== undefined && !options.machine.startsWith(machine)) {
    throw new MigrationError('bad-configuration', 'the source is another machine', {
      ...at,
      found: machine,
      expected: options.machine,
    });
  }
  const other = capabilities.find((capability) => capability !== IGNORE_SHARED_CAPABILITY);
  if (other !== undefined) {
    throw new MigrationError('unsupported', `capability ${other} is on at the source`, {
      ...at,
      expected: 'a stream without it',
    });
  }
  const shares = capabilities.includes(IGNORE_SHARED_CAPABILITY);
  if (shares !== options.ignoreShared) {
    const word = (on: boolean) => (on ? 'on' : 'off');
    throw new MigrationError('bad-configuration', `capability ${IGNORE_SHARED_CAPABILITY} differs`, {
      ...at,
      found: `${word(shares)} at the source`,
      expected: `${word(options.ignoreShared)}, as here`,
    });
  }
  if (uuid !== undefined && local.uuid !== undefined && !sameUuid(uuid, local.uuid)) {
    throw new MigrationError('uuid-mismatch', 'the configuration carries another UUID', {
      ...at,
      found: formatUuid(uuid),
      expected: formatUuid(local.uuid),
    });
  }
}

/**
 * Compares the announced blocks with the guest's. Whatever the guest's own checks are: pages go by index and
 * number, so both lists must be the same, and a block that is shared must be at the same guest address.
 * @throws MigrationError `block-mismatch`
 */
export function checkBlocks(
  announced: readonly RamBlockDescriptor[],
  own: readonly RamBlockMemory[],
  ignoreShared: boolean,
  offset: number,
): void {
  const mismatch = (message: string, found: string, expected: string) =>
    new MigrationError('block-mismatch', message, { channel: 'main', offset, found, expected });
  for (let i = 0; i < Math.max(announced.length, own.length); i++) {
    const [theirs, ours] = [announced[i], own[i]];
    const [found, expected] = [describe(theirs), describe(ours)];
    if (found !== expected) throw mismatch('the block lists disagree', found, expected);
    if (!ignoreShared || ours?.shared !== true) continue;
    const [there, here] = [theirs?.guestPhysicalAddress, ours.guestPhysicalAddress];
    if (there === undefined || here === undefined || there === here) continue;
    const message = `the shared block ${ours.idstr} is at another guest address`;
    throw mismatch(message, `0x${there.toString(16)}`, `0x${here.toString(16)}`);
  }
}

function describe(block: { idstr: string; usedLengthBytes: number } | undefined): string {
  return block === undefined ? 'no block' : `${block.idstr} of ${block.usedLengthBytes} bytes`;
}
