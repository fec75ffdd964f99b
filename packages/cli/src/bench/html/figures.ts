import { formatBytes, formatCount, formatTime } from '../../format.ts';
import { formatLink } from '../names.ts';

/** How figures are written on the page. What is no number that a machine can have is a dash. */

export const ABSENT = '–';

function isFigure(value: number): boolean {
  return Math.abs(value) < 1e21;
}

const MIB = 2 ** 20;

/** Three significant digits: `0.0213`, `2.05`, `12.3`, `1,984`. */
export function figure(value: number): string {
  if (!isFigure(value)) return ABSENT;
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 1e15) return value.toPrecision(3);
  if (size >= 99.95) return `${value < 0 ? '-' : ''}${formatCount(Math.round(size))}`;
  if (size < 1e-6) return value.toExponential(1);
  const digits = Math.max(0, 2 - Math.floor(Math.log10(size)));
  return value.toFixed(digits);
}

/** For an axis: as few digits as the tick has. */
export function tick(value: number): string {
  return Math.abs(value) >= 1000 ? formatCount(Math.round(value)) : String(Number(value.toPrecision(3)));
}

/** A rate as a bare number of MiB/s, for a column that names the unit. */
export function mibPerSecond(bytesPerSecond: number): string {
  return figure(bytesPerSecond / MIB);
}

export function bytes(value: number): string {
  return isFigure(value) ? formatBytes(value) : ABSENT;
}

/** An address, exact: `1.5 GiB`, `1088 MiB`, in the largest unit in which three decimals are enough. */
export function address(value: number): string {
  if (!isFigure(value)) return ABSENT;
  for (const [unit, name] of [
    [2 ** 40, 'TiB'],
    [2 ** 30, 'GiB'],
    [2 ** 20, 'MiB'],
    [1024, 'KiB'],
  ] as const) {
    const scaled = value / unit;
    if (scaled >= 1 && Number.isInteger(scaled * 1000)) return `${scaled} ${name}`;
  }
  return `${value} B`;
}

export function rate(bytesPerSecond: number): string {
  return isFigure(bytesPerSecond) ? `${formatBytes(bytesPerSecond)}/s` : ABSENT;
}

export function count(value: number): string {
  return isFigure(value) ? formatCount(Math.round(value)) : ABSENT;
}

export function time(milliseconds: number): string {
  if (!isFigure(milliseconds)) return ABSENT;
  const hours = milliseconds / 3_600_000;
  return hours >= 100 ? `${figure(hours / 24)} days` : formatTime(milliseconds);
}

/** A ratio of sizes always shows two decimals, so that a column of them lines up. */
export function ratio(value: number | undefined): string {
  if (value === undefined || !isFigure(value)) return ABSENT;
  return value >= 99.995 ? figure(value) : value.toFixed(2);
}

/** `0.0312` gives `3.1 %`. A share of nothing (0 / 0) is a dash. */
export function percent(share: number): string {
  if (!isFigure(share)) return ABSENT;
  const value = share * 100;
  return `${value === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(1)} %`;
}

/** A part of a whole as the width of a bar, in percent; what is no share is no bar. */
export function barWidth(part: number, whole: number): number {
  const width = (part / whole) * 100;
  return Number.isFinite(width) ? Math.min(100, Math.max(0, width)) : 0;
}

/** Link speeds are decimal: `1e10` gives `10 Gb/s`. */
export function link(bitsPerSecond: number): string {
  return isFigure(bitsPerSecond) ? formatLink(bitsPerSecond) : ABSENT;
}

/** `2025-11-23 03:12 UTC`; what is no date stays as it is. */
export function date(iso: string): string {
  const when = new Date(iso);
  if (Number.isNaN(when.getTime())) return iso;
  return `${when.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

/** At most `most` characters, the middle left out: names of files differ at both ends. */
export function shorten(text: string, most: number): string {
  const characters = Array.from(text);
  if (characters.length <= most) return text;
  const head = Math.ceil((most - 1) / 2);
  const tail = most - 1 - head;
  return `${characters.slice(0, head).join('')}…${tail > 0 ? characters.slice(-tail).join('') : ''}`;
}

/** At most `most` characters, the end left out. */
export function truncate(text: string, most: number): string {
  const characters = Array.from(text);
  return characters.length <= most ? text : `${characters.slice(0, Math.max(0, most - 1)).join('')}…`;
}

export function plural(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`;
}
