export { renderBenchHtml } from './page.ts';
