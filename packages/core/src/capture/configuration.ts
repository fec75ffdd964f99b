import { MigrationError } from '../error.ts';
import type { IncomingDescription } from '../guest/contract.ts';
import type { ConfigurationSection } from '../wire/messages.ts';
import { formatUuid, sameUuid } from '../wire/uuid.ts';
import { knownUuid } from './capture.ts';

/**
 * What a capture keeps of the description of a guest that arrives.
 *
 * @param expected the UUID that the guest must have
 * @throws MigrationError `bad-configuration`, `uuid-mismatch`
 */
export function configurationToKeep(
  { configuration, uuid }: IncomingDescription,
  expected: Uint8Array | undefined,
): ConfigurationSection {
  if (configuration === undefined) {
    throw new MigrationError(
      'bad-configuration',
      'a stream without configuration section cannot be captured: its machine type is not known',
      { expected: 'the machine type from the caller (option machine)' },
    );
  }
  for (const learned of [knownUuid(uuid), knownUuid(configuration.uuid)]) {
    if (expected === undefined || learned === undefined) continue;
    if (!sameUuid(expected, learned)) {
      throw new MigrationError('uuid-mismatch', 'the guest has another UUID', {
        found: formatUuid(learned),
        expected: formatUuid(expected),
      });
    }
  }
  return { ...configuration, uuid: knownUuid(uuid) ?? knownUuid(configuration.uuid) ?? expected };
}
