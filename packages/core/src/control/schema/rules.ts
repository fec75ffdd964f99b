import { MigrationError } from '../../error.ts';
import type { CapabilityName } from './capabilities.ts';
import type { ParameterName, ParameterValue } from './parameters.ts';
import { isAlive, type Lifetime, type QemuVersion } from './version.ts';

/** Settings as a whole, as they would be after a change. */
export interface Draft {
  isOn(capability: CapabilityName): boolean;
  valueOf(parameter: ParameterName): ParameterValue | undefined;
}

/** What capabilities demand of each other, with the releases that look. */
type CapabilityRule = Lifetime &
  (
    | { readonly capability: CapabilityName; readonly not: readonly CapabilityName[] }
    | { readonly capability: CapabilityName; readonly needs: CapabilityName }
  );

/** In QEMU's order: the first that is broken is the one that is told. */
export const CAPABILITY_RULES: readonly CapabilityRule[] = [
  { since: '4.0', capability: 'postcopy-ram', not: ['x-ignore-shared'] },
  { since: '8.0', removed: '10.1', capability: 'postcopy-ram', not: ['multifd'] },
  {
    since: '6.0',
    capability: 'background-snapshot',
    not: [
      ...(['postcopy-ram', 'dirty-bitmaps', 'postcopy-blocktime', 'late-block-activate'] as const),
      ...(['return-path', 'multifd', 'pause-before-switchover', 'auto-converge', 'release-ram'] as const),
      ...(['rdma-pin-all', 'compress', 'xbzrle', 'x-colo', 'validate-uuid', 'zero-copy-send'] as const),
    ],
  },
  { since: '7.1', capability: 'zero-copy-send', needs: 'multifd' },
  { since: '7.1', capability: 'zero-copy-send', not: ['compress', 'xbzrle'] },
  { since: '7.1', capability: 'postcopy-preempt', needs: 'postcopy-ram' },
  { since: '7.1', capability: 'postcopy-preempt', not: ['compress'] },
  { since: '7.2', capability: 'multifd', not: ['compress'] },
  { since: '8.1', capability: 'switchover-ack', needs: 'return-path' },
  { since: '8.1', capability: 'dirty-limit', not: ['auto-converge'] },
  { since: '8.2', capability: 'multifd', not: ['xbzrle'] },
  { since: '8.2', capability: 'compress', not: ['xbzrle'] },
  { since: '9.0', capability: 'mapped-ram', not: ['xbzrle', 'compress', 'postcopy-ram'] },
];

/** @throws MigrationError `bad-option` that names both capabilities */
export function checkCapabilities(draft: Draft, version: QemuVersion): void {
  for (const rule of CAPABILITY_RULES) {
    if (!isAlive(rule, version) || !draft.isOn(rule.capability)) continue;
    if ('needs' in rule && !draft.isOn(rule.needs)) {
      throw new MigrationError('bad-option', `capability ${rule.capability} needs capability ${rule.needs}`);
    }
    const other = 'not' in rule ? rule.not.find((name) => draft.isOn(name)) : undefined;
    if (other !== undefined) {
      throw new MigrationError('bad-option', `capability ${rule.capability} does not go with ${other}`);
    }
  }
  checkPlainPages(draft, 'zero-copy-send');
}

/**
 * What cannot be turned on once a destination listens. Up to 7.2 it is multifd where the transport brings a
 * single connection; from 8.1 on it is what needs several where it brings them: they may come at any time.
 *
 * @throws MigrationError `bad-option`
 */
export function checkListening(
  added: readonly CapabilityName[],
  severalConnections: boolean,
  version: QemuVersion,
): void {
  const early = isAlive({ since: '5.1', removed: '8.0' }, version) && !severalConnections;
  const recent = isAlive({ since: '8.1' }, version) && severalConnections;
  const late = added.find(
    (name) => (name === 'multifd' && (early || recent)) || (name === 'postcopy-preempt' && recent),
  );
  if (late === undefined) return;
  throw new MigrationError('bad-option', `capability ${late} must be set before the destination listens`);
}

/** What parameters demand of each other and of the capabilities. @throws MigrationError `bad-option` */
export function checkParameters(draft: Draft): void {
  const initial = draft.valueOf('cpu-throttle-initial')!;
  const max = draft.valueOf('max-cpu-throttle')!;
  if (max < initial) {
    throw new MigrationError('bad-option', 'max-cpu-throttle is below cpu-throttle-initial', {
      found: String(max),
      expected: `${initial} to 99`,
    });
  }
  // That mapped-ram is turned on later is only told by the migration, as in QEMU.
  checkPlainPages(draft, 'zero-copy-send');
  checkPlainPages(draft, 'mapped-ram');
}

/** Pages that are sent from where they lie, or have fixed places, are neither compressed nor encrypted. */
function checkPlainPages(draft: Draft, capability: 'zero-copy-send' | 'mapped-ram'): void {
  if (!draft.isOn(capability)) return;
  for (const [name, plain] of [
    ['multifd-compression', 'none'],
    ['tls-creds', ''],
  ] as const) {
    const value = draft.valueOf(name);
    if (value === plain) continue;
    throw new MigrationError('bad-option', `capability ${capability} does not go with ${name}`, {
      found: String(value),
    });
  }
}
