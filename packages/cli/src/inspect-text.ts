import type { CaptureReport, DeviceReport, FieldReport, SubsectionReport } from '@pageferry/core/capture';
import { formatBytes, formatCount, formatTable } from './format.ts';

/**
 * What `inspectCapture` found, as text for people. Of a damaged file it shows what comes before the damage.
 *
 * @param withFields also the fields of each device section, from the vmdescription
 */
export function inspectText(report: CaptureReport, withFields: boolean): string {
  const parts = [general(report), ram(report), commands(report), devices(report, withFields), loads(report)];
  return parts
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n');
}

function general(report: CaptureReport): string[] {
  const { configuration, format, endOffset, trailingBytes = 0, vmdesc } = report;
  const rows = [
    ['file', `${report.path}, ${formatBytes(report.fileBytes)} (${formatCount(report.fileBytes)} bytes)`],
  ];
  if (format !== undefined) rows.push(['format', format]);
  if (configuration !== undefined) {
    rows.push(['machine', configuration.machine]);
    if (configuration.uuid !== undefined) rows.push(['uuid', configuration.uuid]);
    if (configuration.capabilities.length > 0)
      rows.push(['capabilities', configuration.capabilities.join(', ')]);
    if (configuration.targetPageBits !== undefined) {
      rows.push(['page size', `${2 ** configuration.targetPageBits} bytes`]);
    }
  }
  if (report.runState !== undefined) rows.push(['run state', report.runState]);
  if (vmdesc !== undefined) {
    const proof = vmdesc.proven
      ? 'agrees with every device section'
      : 'does not agree with the device sections';
    rows.push(['vmdescription', `${formatBytes(vmdesc.bytes)} at ${vmdesc.offset}, ${proof}`]);
  }
  if (endOffset !== undefined) {
    const rest = trailingBytes > 0 ? `, ${formatBytes(trailingBytes)} behind it belong to nothing` : '';
    rows.push(['stream ends', `at ${endOffset}${rest}`]);
  }
  return formatTable(undefined, rows, 'll');
}

function ram({ ram }: CaptureReport): string[] {
  if (ram === undefined) return [];
  const mapped = ram.blocks.some((block) => block.pagesOffset !== undefined);
  const header = ['block', 'bytes', 'pages', 'zero', 'unique', 'duplicate', 'in file'];
  const rows = [...ram.blocks, { idstr: 'all', bytes: ram.totalBytes, ...ram.pages }].map((block) => [
    block.idstr,
    formatCount(block.bytes),
    formatCount(block.pages),
    formatCount(block.zeroPages),
    formatCount(block.uniquePages),
    formatCount(block.duplicatePages),
    formatCount(block.pagesInFile),
    ...(mapped && 'pagesOffset' in block ? [String(block.bitmapOffset), String(block.pagesOffset)] : []),
  ]);
  if (mapped) header.push('bitmap at', 'pages at');
  const lines = [
    `RAM: ${formatBytes(ram.totalBytes)} in section ${ram.sectionId} at ${ram.offset}`,
    ...formatTable(header, rows, 'lrrrrrrrr').map(indent),
  ];
  if (!mapped) {
    const { compressedRecords, zeroRecords, xbzrleRecords, missingPages } = ram.pages;
    if (compressedRecords > 0)
      lines.push(indent(`${formatCount(compressedRecords)} pages are compressed one by one`));
    lines.push(indent(`${formatCount(zeroRecords)} records of zero pages`));
    if (xbzrleRecords > 0) lines.push(indent(`${formatCount(xbzrleRecords)} records of changes (xbzrle)`));
    if (missingPages > 0) lines.push(indent(`${formatCount(missingPages)} pages are not in the file`));
  }
  return lines;
}

function commands({ commands }: CaptureReport): string[] {
  if (commands.length === 0) return [];
  const rows = commands.map(({ name, offset, payloadBytes }) => [name, String(offset), String(payloadBytes)]);
  return ['Commands', ...formatTable(['command', 'at', 'bytes'], rows, 'lrr').map(indent)];
}

function devices({ devices }: CaptureReport, withFields: boolean): string[] {
  if (devices.length === 0) return [];
  const header = ['section', 'device', 'instance', 'version', 'at', 'bytes'];
  const rows = devices.map((device) => [
    String(device.sectionId),
    device.early ? `${device.idstr} (before the pages)` : device.idstr,
    String(device.instanceId),
    String(device.versionId),
    String(device.offset),
    formatCount(device.bytes),
  ]);
  const table = formatTable(header, rows, 'rlrrrr').map(indent);
  const lines = [`Device sections: ${devices.length}`, table[0]!];
  for (const [i, device] of devices.entries()) {
    lines.push(table[i + 1]!);
    if (withFields) lines.push(...deviceFields(device).map((line) => `      ${line}`));
  }
  return lines;
}

function deviceFields(device: DeviceReport): string[] {
  if (device.fields === undefined) return ['no description of its fields'];
  return [...device.fields.flatMap(fieldLines), ...(device.subsections ?? []).flatMap(subsectionLines)];
}

function fieldLines(field: FieldReport): string[] {
  const index = field.index === undefined ? '' : `[${field.index}]`;
  const count = field.arrayLength === undefined ? '' : ` x ${field.arrayLength}`;
  return [
    `${field.name}${index}: ${field.type}, ${field.sizeBytes} bytes${count}`,
    ...(field.fields ?? []).flatMap(fieldLines).map(indent),
    ...(field.subsections ?? []).flatMap(subsectionLines).map(indent),
  ];
}

function subsectionLines(subsection: SubsectionReport): string[] {
  return [
    `subsection ${subsection.name}, version ${subsection.version}`,
    ...subsection.fields.flatMap(fieldLines).map(indent),
    ...(subsection.subsections ?? []).flatMap(subsectionLines).map(indent),
  ];
}

function loads({ loads }: CaptureReport): string[] {
  if (loads === undefined) return [];
  const version = loads.minimumQemuVersion;
  return [
    `Loads in QEMU ${version === undefined ? 'of a version that the file does not tell' : `${version} and later`}, machine type ${loads.machine}:`,
    indent(loads.commandLine),
    ...(loads.qmp.length > 0 ? ['and in its QMP monitor:', ...loads.qmp.map(indent)] : []),
    ...loads.notes.map((note) => `- ${note}`),
  ];
}

function indent(line: string): string {
  return `  ${line}`;
}
