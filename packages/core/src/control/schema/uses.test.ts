import assert from 'node:assert/strict';
import test from 'node:test';
import { resolveMigrateOptions, resolveReceiveOptions } from '../options.ts';
import { CAPABILITIES, type Capability } from './capabilities.ts';
import { PARAMETERS, type Parameter, type ParameterValue, parametersOf } from './parameters.ts';
import { MigrationSettings } from './settings.ts';
import { isRefusal, type Side, type Uses } from './use.ts';
import type { QemuVersion } from './version.ts';

/**
 * Every item is refused by name, or it reaches the option that it is mapped to, or acts elsewhere by name:
 * nothing can be set that does nothing.
 */

const SIDES: readonly Side[] = ['source', 'destination'];
const parameters = Object.entries(PARAMETERS) as [string, Parameter][];
const capabilities = Object.entries(CAPABILITIES) as [string, Capability][];

/** A release that has the item: the last one. */
const lastVersion = ({ removed }: { removed?: QemuVersion }): QemuVersion =>
  removed === '9.1' ? '9.0' : '10.2';

const optionsOf = (settings: MigrationSettings, side: Side) =>
  (side === 'source' ? settings.toMigrateOptions() : settings.toReceiveOptions()) as Record<string, unknown>;

/** Allowed values, the edges of a range. `max-cpu-throttle` is not below the initial one. */
function allowedValues({ type, range, values, default: usual, unit }: Parameter): ParameterValue[] {
  if (type === 'bool') return [!usual];
  if (type === 'enum') return Object.keys(values!);
  if (type === 'string') return ['x'];
  if (type === 'strings') return [['x']];
  if (type === 'bitmap-mapping') return [[]];
  if (unit === 'bytes') return [2 ** 22];
  return usual === 99 ? [20] : [range?.least ?? 1, range?.most ?? 2 ** 20];
}

test('every item does something somewhere', () => {
  for (const [name, item] of [...parameters, ...capabilities] as [string, Capability & Uses][]) {
    assert.ok(item.source ?? item.destination ?? item.actsIn, name);
  }
});

test('a parameter reaches its option, or is refused by name', () => {
  for (const [name, parameter] of parameters) {
    for (const side of SIDES) {
      for (const value of allowedValues(parameter).filter((other) => other !== parameter.default)) {
        const settings = new MigrationSettings({ side, version: lastVersion(parameter) });
        const use = parameter[side];
        const set = () => settings.setParameters({ [name]: value });
        if (isRefusal(use)) assert.throws(set, { code: 'unsupported', message: `${name} ${use.refused}` });
        else set();
        if (typeof use === 'string') assert.equal(optionsOf(settings, side)[use], value, name);
      }
    }
  }
});

test('a capability reaches its option, or is refused by name', () => {
  for (const [name, capability] of capabilities) {
    for (const side of SIDES) {
      const settings = new MigrationSettings({ side, version: lastVersion(capability) });
      const use = capability[side];
      const names = { 'switchover-ack': ['return-path'] }[name] ?? [];
      const set = () =>
        settings.setCapabilities([...names, name].map((on) => ({ capability: on, state: true })));
      if (name === 'zero-copy-send' || name === 'postcopy-preempt') continue;
      if (isRefusal(use)) {
        assert.throws(set, { code: 'unsupported', message: `capability ${name} ${use.refused}` });
      } else set();
      if (typeof use === 'string') assert.equal(optionsOf(settings, side)[use], true, name);
    }
  }
});

test('what may be set may be migrated with', () => {
  for (const [name, parameter] of parametersOf('9.0')) {
    for (const value of allowedValues(parameter)) {
      for (const side of SIDES.filter((one) => !isRefusal(parameter[one]))) {
        const settings = new MigrationSettings({ side, version: '9.0' });
        settings.setParameters({ [name]: value });
        if (side === 'source') resolveMigrateOptions(settings.toMigrateOptions());
        else resolveReceiveOptions(settings.toReceiveOptions());
      }
    }
  }
});
