import { icon, marker } from './charts/markers.ts';
import type { Configuration } from './configurations.ts';
import { html, type Markup } from './escape.ts';

/** The marker of a configuration's codec, in front of its name. */
export function named(
  configuration: Configuration,
  name: string,
  slots: ReadonlyMap<string, number>,
): Markup {
  const slot = slots.get(configuration.measurement.codec) ?? 0;
  return html`<span class="named">${icon(marker(slot, 0, 0, 7, 'solid'))}${name}</span>`;
}

/** Which codec has which colour and shape. */
export function codecLegend(slots: ReadonlyMap<string, number>): Markup[] {
  return Array.from(slots, ([codec, slot]) => html`<li>${icon(marker(slot, 0, 0, 7, 'solid'))}${codec}</li>`);
}

export function legendItem(content: Markup, text: string): Markup {
  return html`<li>${icon(content)}${text}</li>`;
}

/** A field of a colour, by its class in the style sheet. */
export function chip(style: string): Markup {
  return html`<svg class="chip" aria-hidden="true"><rect class="${style}" width="100%" height="100%"/></svg>`;
}
