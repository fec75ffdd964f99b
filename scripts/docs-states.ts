import { readFile, writeFile } from 'node:fs/promises';
import { DESTINATION_STATES, SOURCE_STATES, type StateTable } from '@pageferry/core/control';

const FILE = new URL('../docs/states.md', import.meta.url);

/** The text of docs/states.md with its diagrams, in the order source, destination, drawn anew from the tables. */
export function withDiagrams(text: string): string {
  const diagrams = [SOURCE_STATES, DESTINATION_STATES].map(diagram);
  return text.replaceAll(/(?<=^```mermaid\n).*?(?=^```$)/gms, () => diagrams.shift() ?? 'no such table\n');
}

export const readStatesDoc = () => readFile(FILE, 'utf8');

function diagram(table: StateTable): string {
  const states = Object.entries(table);
  // A name with a hyphen would be read as a part of an arrow.
  const id = (status: string) => status.replaceAll('-', '_');
  const named = states.filter(([status]) => status.includes('-'));
  const lines = [
    'stateDiagram-v2',
    ...named.map(([status]) => `  state "${status}" as ${id(status)}`),
    '  [*] --> none',
    ...states.flatMap(([from, ways]) =>
      Object.entries(ways).map(([to, why]) => `  ${id(from)} --> ${id(to)}: ${why}`),
    ),
    ...states.filter(([, ways]) => Object.keys(ways).length === 0).map(([last]) => `  ${id(last)} --> [*]`),
  ];
  return `${lines.join('\n')}\n`;
}

if (import.meta.main) await writeFile(FILE, withDiagrams(await readStatesDoc()));
