import { Markup } from './escape.ts';

/**
 * Colours by codec slot (`c0` to `c7`) and by class of ratio (`b0` to `b5`). The codec colours keep apart for colour-blind
 * eyes, and shapes say the same. The classes are one ramp whose ink grows with what has to be sent: dark on
 * white, light on black; zero pages are the ground.
 */
const LIGHT = `
--ground:#fff;--text:#1a1f26;--muted:#57606a;--rule:#d5dbe1;--panel:#f5f7f9;--link:#0b57a4;--mark:#fff4cf;--warn:#a4231d;
--c0:#2a323c;--c1:#c2500a;--c2:#0b5fb0;--c3:#00805e;--c4:#ad4796;--c5:#7a6400;--c6:#0e7490;--c7:#7c2d12;
--b0:#0b2a66;--b1:#2258a5;--b2:#1d8ec0;--b3:#49bac4;--b4:#8bd3b8;--b5:#cdebb0;--zero:#f3f5f7;--zero-edge:#c2cad2;`;
const DARK = `
--ground:#11151a;--text:#e5e9ee;--muted:#a5afba;--rule:#323b46;--panel:#1a2027;--link:#7cc0ff;--mark:#3a3113;--warn:#ff9a8d;
--c0:#dfe4ea;--c1:#f5a04e;--c2:#66b3ff;--c3:#45d0a4;--c4:#d67fbd;--c5:#d9c254;--c6:#5fd0e3;--c7:#f0a58c;
--b0:#ffffd2;--b1:#cfeeb2;--b2:#84cfb9;--b3:#41acc4;--b4:#2a78b4;--b5:#2c4a94;--zero:#1b2129;--zero-edge:#434d59;`;

const SLOTS = Array.from({ length: 8 }, (_, slot) => `.c${slot}{--c:var(--c${slot})}`).join('');
const BUCKETS = Array.from({ length: 6 }, (_, bucket) => `.b${bucket}{fill:var(--b${bucket})}`).join('');

export const STYLE = new Markup(`
:root{color-scheme:light dark;${LIGHT}}
@media screen and (prefers-color-scheme:dark){:root{${DARK}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;padding:28px 20px 48px;max-width:980px;background:var(--ground);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans",Arial,sans-serif;font-variant-numeric:tabular-nums}
h1{font-size:clamp(1.5rem,1.1rem + 1.8vw,2.15rem);line-height:1.2;margin:.2em 0 .4em;text-wrap:balance}
h2{font-size:1.35rem;line-height:1.25;margin:0 0 .5em}
p{margin:0 0 .9em;overflow-wrap:anywhere}
section{margin-top:52px}
a{color:var(--link)}
code{font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
small{font-size:12px;color:var(--muted)}
.kicker{color:var(--muted);margin:0;font-size:14px}
.lede,section>p{max-width:72ch}
nav{display:flex;flex-wrap:wrap;gap:4px 20px;margin-top:24px;padding:10px 0;border-block:1px solid var(--rule);font-size:15px}
footer{margin-top:52px;padding-top:12px;border-top:1px solid var(--rule);color:var(--muted);font-size:13px}

.cards{list-style:none;margin:22px 0 0;padding:0;display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,215px),1fr));gap:14px}
.cards>li{background:var(--panel);border:1px solid var(--rule);border-radius:8px;padding:14px 16px;display:flex;flex-direction:column;font-size:15px;min-width:0}
.cards h2{font-size:14px;font-weight:600;color:var(--muted);margin:0}
.cards p{margin:0 0 .7em}
.cards .pick{font-size:1.2rem;font-weight:700;line-height:1.3;margin:.1em 0 .4em}
.cards dl{margin:0 0 .8em;font-size:14px}
.cards dl div{display:flex;justify-content:space-between;gap:10px;padding:3px 0;border-top:1px solid var(--rule)}
dt{color:var(--muted)}
dd{margin:0;text-align:right;white-space:nowrap}
.cards .with{color:var(--muted);margin-top:-.4em}
.cards .flags{margin:auto 0 0}
.flags code{display:block;font-size:12px}
.warning,.no{color:var(--warn);font-weight:600}

figure{margin:18px 0 26px}
figcaption{font-weight:600;margin-bottom:6px}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 18px;margin:8px 0;padding:0;font-size:14px;font-weight:400}
.legend li,.named{display:inline-flex;align-items:center;gap:6px;vertical-align:middle}
.icon{width:20px;height:20px;flex:none}
.chip{width:15px;height:15px;flex:none}
.bar{display:block;width:100%;height:26px}
.bar.inline{height:14px;min-width:36px}
.key{font-size:14px;color:var(--muted);margin:0}
.small{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,360px),1fr));gap:8px 36px}
.small figure{max-width:540px}
.small figure{margin:8px 0}

.chart{display:block;width:100%;height:auto;overflow:visible}
.chart text{fill:var(--muted);font-family:inherit;font-size:13px}
.chart.wide text{font-size:14px}
.chart.always text{font-size:12px}
.chart .label{fill:var(--text);paint-order:stroke;stroke:var(--ground);stroke-width:3px;stroke-linejoin:round}
.chart .faint{fill:var(--muted)}
.grid,.axis,.front,.line,.leader,.ring,.cross{fill:none}
.grid{stroke:var(--rule);stroke-width:.8}
.axis{stroke:var(--muted)}
.front{stroke:var(--text);stroke-width:1.6;opacity:.55}
.leader{stroke:var(--muted);stroke-width:.8}
.line{stroke:var(--c);stroke-width:2}
.weak{opacity:.4}
.band{fill:var(--panel)}
.solid{fill:var(--c);stroke:var(--ground);stroke-width:1}
.hollow{fill:var(--ground);stroke:var(--c);stroke-width:1.8}
.ring{stroke:var(--text);stroke-width:1.8}
.cross{stroke:var(--warn);stroke-width:2}
${SLOTS}${BUCKETS}
.zero{fill:var(--zero);stroke:var(--zero-edge);stroke-width:.6}
.through{pointer-events:none}
.narrow{display:none}

.scroll{overflow-x:auto;margin:18px 0 24px;scrollbar-width:thin;
background:linear-gradient(90deg,var(--ground) 30%,transparent) 0 0/40px 100% no-repeat local,
linear-gradient(-90deg,var(--ground) 30%,transparent) 100% 0/40px 100% no-repeat local,
linear-gradient(90deg,var(--rule),transparent) 0 0/14px 100% no-repeat scroll,
linear-gradient(-90deg,var(--rule),transparent) 100% 0/14px 100% no-repeat scroll}
.scroll:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:14px;line-height:1.35}
.fit{width:auto}
caption{text-align:left;font-weight:600;padding-bottom:8px;font-size:15px}
.scroll caption span{display:block;position:sticky;left:0;width:max-content;max-width:min(100vw - 40px,940px);overflow-wrap:anywhere}
.scroll tbody th{position:sticky;left:0;background:var(--ground)}
th,td{padding:5px 8px;text-align:right;border-bottom:1px solid var(--rule);font-weight:400}
td{white-space:nowrap}
thead th{font-weight:600;color:var(--muted);font-size:13px;vertical-align:bottom}
th[scope=colgroup]{text-align:center;border-bottom-color:var(--muted)}
th[scope=row],.left,th:first-child{text-align:left}
tbody th[scope=row]{white-space:nowrap}
tbody th:first-child:has(bdi){white-space:normal;overflow-wrap:anywhere;min-width:15ch}
.marked>*,.scroll .marked th{background:var(--mark)}
.cell{display:inline-grid;grid-template-columns:15px 1fr;gap:0 6px;align-items:center;min-width:4.5em}
.cell small{grid-column:1/-1;text-align:right;line-height:1.1}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:24px 40px}
.facts{align-self:start}
.facts th{color:var(--muted);vertical-align:top;padding-left:0}
.facts td{white-space:normal;overflow-wrap:anywhere;text-align:left;padding-right:0}
summary{cursor:pointer;padding:8px 0;font-weight:600;color:var(--link)}

@media screen and (max-width:759px){
body{padding:18px 16px 36px}
section{margin-top:40px}
.wide{display:none}
.narrow{display:block;max-width:540px;margin-inline:auto}
th,td{padding:5px 7px}
.scroll caption span{max-width:calc(100vw - 32px)}
.scroll tbody th[scope=row]{white-space:normal;min-width:104px;max-width:42vw}
.scroll tbody th:has(bdi){min-width:130px}
.cards dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));column-gap:16px}
}
@media print{
@page{margin:14mm}
:root{--text:#000;--muted:#333;--panel:#fff;--link:#000;--rule:#aaa}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
body{max-width:none;padding:0;font-size:9.5pt}
h1{font-size:18pt}
h2{font-size:13pt}
nav,summary{display:none}
details::details-content{content-visibility:visible;display:block;block-size:auto}
.scroll{overflow:visible;background:none}
.scroll caption span{max-width:170mm}
.cards{grid-template-columns:repeat(auto-fit,minmax(40mm,1fr));gap:8px}
.cards>li{font-size:8.5pt;padding:8px 10px}
.cards h2,.cards dl{font-size:8.5pt}
.cards .pick{font-size:11pt}
.flags code{font-size:7pt}
.small,.columns{grid-template-columns:1fr 1fr;column-gap:24px}
.legend{font-size:9pt}
.cards>li,figure,.short,tr,h2,p{break-inside:avoid}
h2,h2+p,.legend,figcaption,caption{break-after:avoid}
table{font-size:7.5pt}
.scroll tbody th{position:static;background:none}
caption{font-size:8.5pt}
thead th{font-size:7.5pt}
th,td{padding:2px 4px}
small{font-size:7pt}
td:not(.left){white-space:normal}
.facts{break-inside:avoid}
table .icon{width:13px;height:13px}
table .chip{width:9px;height:9px}
.named{gap:4px}
section{margin-top:28px}
}
`);
