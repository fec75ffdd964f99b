import { html, type Markup } from '../escape.ts';

/** Shapes by codec slot (see `codecSlots`), each about as large to the eye as a circle of radius `r`. */
const SHAPES: readonly ((r: number) => string)[] = [
  (r) => polygon([-0.9, -0.9, 0.9, -0.9, 0.9, 0.9, -0.9, 0.9], r),
  (r) => polygon([0, -1.25, 1.15, 0.85, -1.15, 0.85], r),
  (r) => `m${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  (r) => polygon([0, -1.3, 1.3, 0, 0, 1.3, -1.3, 0], r),
  (r) => polygon([0, 1.25, 1.15, -0.85, -1.15, -0.85], r),
  (r) =>
    polygon(
      [
        -0.4, -1.2, 0.4, -1.2, 0.4, -0.4, 1.2, -0.4, 1.2, 0.4, 0.4, 0.4, 0.4, 1.2, -0.4, 1.2, -0.4, 0.4, -1.2,
        0.4, -1.2, -0.4, -0.4, -0.4,
      ],
      r,
    ),
  (r) => polygon([-0.65, -1.1, 0.65, -1.1, 1.3, 0, 0.65, 1.1, -0.65, 1.1, -1.3, 0], r),
  (r) => polygon([0, -1.2, 1.15, -0.35, 0.7, 1, -0.7, 1, -1.15, -0.35], r),
];

/** A relative path through the corners (x, y, x, y, ...), in units of `r`. */
function polygon(corners: readonly number[], r: number): string {
  let path = '';
  for (let index = 0; index < corners.length; index += 2) {
    const dx = (corners[index] ?? 0) - (corners[index - 2] ?? 0);
    const dy = (corners[index + 1] ?? 0) - (corners[index - 1] ?? 0);
    path += `${index === 0 ? 'm' : 'l'}${round(dx * r)} ${round(dy * r)}`;
  }
  return `${path}z`;
}

/** `hollow`: something else is both faster and smaller. */
export type MarkerKind = 'solid' | 'hollow';

export function marker(slot: number, x: number, y: number, r: number, kind: MarkerKind): Markup {
  const shape = (SHAPES[slot] ?? SHAPES[0]!)(r);
  return html`<path class="c${slot} ${kind}" d="M${round(x)} ${round(y)}${shape}"/>`;
}

/** Around the marker of a configuration that is recommended. */
export function ring(x: number, y: number, r: number): Markup {
  return html`<circle class="ring" cx="${x}" cy="${y}" r="${r + 4.5}"/>`;
}

/** Over a point whose migration does not converge. */
export function cross(x: number, y: number, r: number): Markup {
  const d = r * 0.95;
  return html`<path class="cross" d="M${round(x - d)} ${round(y - d)}l${2 * d} ${2 * d}m${-2 * d} 0l${2 * d} ${-2 * d}"/>`;
}

/** A marker by itself, for legends and cards in the text. */
export function icon(content: Markup): Markup {
  return html`<svg class="icon" viewBox="-12 -12 24 24" aria-hidden="true">${content}</svg>`;
}

function round(value: number): number {
  return Number(value.toFixed(2));
}
