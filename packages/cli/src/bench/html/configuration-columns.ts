import type { BenchReport } from '../report.ts';
import { type Configuration, codecSlots, configurationsOf, namer } from './configurations.ts';
import { count } from './figures.ts';
import { named } from './legend.ts';
import type { Column } from './tables.ts';

/**
 * The columns that say which configuration a row is about.
 *
 * @param group whether threads and packet size are among them, or are the same in all rows and in the caption
 */
export function configurationColumns<Row>(
  report: BenchReport,
  of: (row: Row) => Configuration,
  group: boolean,
): Column<Row>[] {
  const slots = codecSlots(report);
  const name = namer([]);
  const columns: Column<Row>[] = [
    { head: 'Method', align: 'left', cell: (row) => named(of(row), name(of(row)), slots) },
  ];
  if (configurationsOf(report).some(({ measurement }) => measurement.backend !== undefined)) {
    columns.push({ head: 'Backend', align: 'left', cell: (row) => of(row).measurement.backend ?? '' });
  }
  if (!group) return columns;
  return [
    ...columns,
    { head: 'Threads', cell: (row) => count(of(row).measurement.threads) },
    { head: 'Pages per packet', cell: (row) => count(of(row).measurement.packetPages) },
  ];
}
