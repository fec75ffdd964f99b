import { readFile, writeFile } from 'node:fs/promises';
import {
  CAPABILITIES,
  CAPABILITY_RULES,
  type Capability,
  isRefusal,
  LIVE_PARAMETERS,
  PARAMETERS,
  type Parameter,
  rangeOf,
  type Side,
} from '@pageferry/core/control';

const FILE = new URL('../docs/parameters.md', import.meta.url);

/** The text of docs/parameters.md, made from the tables. */
export function parametersDocument(): string {
  const parameters = Object.entries<Parameter>(PARAMETERS).map(parameterRow);
  const capabilities = Object.entries<Capability>(CAPABILITIES).map(capabilityRow);
  return `${INTRODUCTION}
## Capabilities

All are off until they are set.

${table(['capability', 'QEMU', 'source', 'destination', 'rules', 'what it does'], capabilities)}

## Parameters

${table(['parameter', 'values', 'default', 'QEMU', 'source', 'destination', 'what it does'], parameters)}
`;
}

const INTRODUCTION = `# Migration parameters and capabilities

Those of QEMU 5.1 to 10.2, with QEMU's names, values, units and defaults. This page is made from the tables in
\`packages/core/src/control/schema/\` by \`npm run docs:parameters\`; types, checks, flags and the answers of a monitor are made from
the same tables.

- **QEMU**: the release in which it came, and the first one in which it was gone. A monitor that is told to be QEMU 7.2
  knows what QEMU 7.2 knows.
- **source**, **destination**: the member of \`MigrateOptions\` or \`ReceiveOptions\` that it sets, *no effect* where
  QEMU has none either, or why it is refused. What is refused is refused by name when it is set to anything but its default.
- *live*: a change reaches a migration that runs. All others hold for the next one.
- On the command line a parameter is a flag of the same name (\`--max-bandwidth 100M\`), a capability is
  \`--capability name\` or \`--capability name=off\`. There \`return-path\` is on where the transport has one, and
  \`max-bandwidth\` is unlimited; in a monitor both are as below.
- Levels out of range are refused for every version; QEMU up to 8.2 takes any number and does nothing with it.
`;

function parameterRow([name, parameter]: [string, Parameter]): string[] {
  const { unit, with: needed, about } = parameter;
  const condition = needed === undefined ? '' : `; with ${code(needed)}`;
  return [
    code(name),
    `${values(parameter)}${unit === undefined ? '' : ` ${unit}`}`,
    parameter.machineDecides ? `the machine type's, or ${code(parameter.default)}` : code(parameter.default),
    lifetime(parameter),
    use(parameter, 'source'),
    use(parameter, 'destination'),
    `${about}${condition}`,
  ];
}

function capabilityRow([name, capability]: [string, Capability]): string[] {
  const rules = CAPABILITY_RULES.filter((rule) => rule.capability === name).map((rule) => {
    const others = 'needs' in rule ? [rule.needs] : rule.not;
    const until = rule.removed === undefined ? '' : ` until ${rule.removed}`;
    // A rule that is as old as what it is about needs no release.
    const born = [capability, ...others.map((other): Capability => CAPABILITIES[other])];
    const from = born.some(({ since }) => since === rule.since) ? '' : ` from ${rule.since}`;
    const when = `${from}${until}`;
    return `${'needs' in rule ? 'needs' : 'not with'} ${others.map(code).join(', ')}${when}`;
  });
  return [
    code(name),
    lifetime(capability),
    use(capability, 'source'),
    use(capability, 'destination'),
    rules.join('; '),
    capability.about,
  ];
}

function values(parameter: Parameter): string {
  const range = rangeOf(parameter);
  if (range !== undefined) return `${range.least} to ${range.most ?? '2^64-1'}`;
  if (parameter.type === 'enum') {
    const all = Object.entries(parameter.values!);
    return all
      .map(([value, since]) => code(value) + (since === parameter.since ? '' : ` (${since})`))
      .join(', ');
  }
  return { bool: 'on, off', string: 'text', strings: 'texts', 'bitmap-mapping': 'list' }[
    parameter.type as string
  ]!;
}

function lifetime({ since, removed }: { since: string; removed?: string }): string {
  return removed === undefined ? since : `${since} – ${removed}`;
}

function use(item: Parameter | Capability, side: Side): string {
  const option = item[side];
  if (isRefusal(option)) return option.refused.replace(/^is /, '');
  if (option === undefined) return 'actsIn' in item && item.actsIn ? `in ${item.actsIn}` : '*no effect*';
  const live: readonly string[] = LIVE_PARAMETERS;
  return code(option) + (side === 'source' && live.includes(option) ? ', live' : '');
}

function code(value: unknown): string {
  if (value === undefined) return 'unset';
  if (value === '' || (Array.isArray(value) && value.length === 0)) return 'empty';
  const text = typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value);
  return `\`${text}\``;
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}

export const readParametersDoc = () => readFile(FILE, 'utf8');

if (import.meta.main) await writeFile(FILE, parametersDocument());
