/** Colours of plots and pages, light and dark. Text on its background has a contrast of at least 4.5, marks of at least 3. */
const LIGHT = `--page:#ffffff;--panel:#f5f7fa;--line:#d5dbe3;--ink:#1a2230;--soft:#566274;--accent:#1f5fbf;--second:#a8530b;--third:#0f766e;
--good:#11703c;--bad:#b3261e;--warn:#8a5300;--good-soft:#e2f4e8;--bad-soft:#fde7e5;--warn-soft:#fdf0d9;
--heat0:#eef4fb;--heat1:#dbe8f7;--heat2:#c3d8f1;--heat3:#a5c4ea;--heat4:#82abdf;--heat-ink:#10203a;--shade:#1a223040;`;
const DARK = `--page:#11151c;--panel:#1a202a;--line:#343d4b;--ink:#e8ecf2;--soft:#a3afbf;--accent:#86b3ff;--second:#f2a65e;--third:#5fd4c4;
--good:#62d394;--bad:#ff9087;--warn:#f0be62;--good-soft:#12301f;--bad-soft:#421a18;--warn-soft:#382a0e;
--heat0:#182233;--heat1:#1e3150;--heat2:#26426e;--heat3:#30558d;--heat4:#3d69ac;--heat-ink:#eef4ff;--shade:#e8ecf24d;`;

/** Custom properties for both schemes, on `root`. */
const scheme = (root: string): string =>
  `${root}{color-scheme:light dark;${LIGHT}}@media (prefers-color-scheme:dark){${root}{${DARK}}}`;

/** Marks of plots. A page and a picture on its own share these. */
const PLOT = `
svg.plot{display:block;max-width:100%;height:auto;font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
svg.plot text{fill:var(--ink)}svg.plot text.soft{fill:var(--soft)}svg.plot text.title{font-weight:600}
svg.plot .grid{stroke:var(--line);stroke-width:1}svg.plot .frame{stroke:var(--soft);stroke-width:1;fill:none}
svg.plot .limit{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:5 3}
svg.plot .mark{fill:var(--accent)}svg.plot .mark.b{fill:var(--second)}svg.plot .mark.c{fill:var(--third)}
svg.plot .mark.bad{fill:var(--bad)}svg.plot .mark.warn{fill:var(--warn)}
svg.plot .thread{fill:none;stroke:var(--accent);stroke-width:1.5}svg.plot .thread.b{stroke:var(--second)}svg.plot .thread.c{stroke:var(--third)}
svg.plot.wide{width:100%}`;

const PAGE = `
*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 20px 48px}
h1{font-size:1.55rem;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.15rem;line-height:1.3;margin:36px 0 4px;padding-top:16px;border-top:1px solid var(--line)}
h3{font-size:.95rem;margin:16px 0 4px}p{margin:4px 0 12px;max-width:80ch}.soft{color:var(--soft)}
code,.num{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.9em}code{overflow-wrap:anywhere}
a{color:var(--accent)}a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.verdict{display:flex;gap:10px;align-items:baseline;margin:16px 0;padding:12px 14px;border-radius:8px;border-left:5px solid;font-weight:600}
.verdict span{overflow-wrap:anywhere;min-width:0}
.verdict.good{background:var(--good-soft);border-color:var(--good);color:var(--good)}
.verdict.bad{background:var(--bad-soft);border-color:var(--bad);color:var(--bad)}
.verdict.warn{background:var(--warn-soft);border-color:var(--warn);color:var(--warn)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:8px;margin:16px 0;padding:0}
.facts div{background:var(--panel);border-radius:8px;padding:8px 12px;min-width:0}
.facts dt{color:var(--soft);font-size:.8rem}.facts dd{margin:0;font-weight:600;overflow-wrap:anywhere}
.scroll{overflow-x:auto;max-width:100%;border:1px solid var(--line);border-radius:8px;
background:linear-gradient(90deg,var(--page) 40%,transparent) 0 0/32px 100% no-repeat local,linear-gradient(270deg,var(--page) 40%,transparent) 100% 0/32px 100% no-repeat local,
linear-gradient(90deg,var(--shade),transparent) 0 0/14px 100% no-repeat scroll,linear-gradient(270deg,var(--shade),transparent) 100% 0/14px 100% no-repeat scroll}
.scroll.fit{width:fit-content}.scroll.bare{border:0;border-radius:0}table{border-collapse:collapse;width:100%;font-size:.87rem}caption{text-align:left;color:var(--soft);padding:6px 10px}
th,td{padding:5px 10px;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}tr:last-child>*{border-bottom:0}
thead th{color:var(--soft);font-weight:600;vertical-align:bottom;border-bottom:2px solid var(--line)}
th.right,td.right{text-align:right;font-variant-numeric:tabular-nums}td.right{white-space:nowrap}td.text{min-width:17em}
tr.bad>*{background:var(--bad-soft)}tr.warn>*{background:var(--warn-soft)}td.fixed,td.fixed code{white-space:nowrap}
table.heat{width:auto;border-collapse:separate;border-spacing:2px;font-size:.8rem}
table.heat th,table.heat td{border:0;padding:3px 6px}
table.heat thead th{border:0;text-align:center}
table.heat tbody th{position:sticky;left:0;background:var(--page);font-weight:500;white-space:nowrap;text-align:left;z-index:1}
table.heat tbody th.group{color:var(--soft);font-weight:600;padding-top:10px}
table.heat td{text-align:center;min-width:2.9em;white-space:nowrap;border-radius:4px;color:var(--heat-ink);font-variant-numeric:tabular-nums}
.h0{background:var(--heat0)}.h1{background:var(--heat1)}.h2{background:var(--heat2)}.h3{background:var(--heat3)}.h4{background:var(--heat4)}
table.heat td.bad,.swatch.bad{background:var(--bad);color:var(--page);font-weight:700}table.heat td.none{color:var(--soft)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:8px 0 12px;padding:0;list-style:none;font-size:.85rem}
.legend li{display:flex;align-items:center;gap:6px}.swatch{display:inline-block;width:14px;height:14px;border-radius:3px;border:1px solid var(--line)}
.swatch.a{background:var(--accent)}.swatch.b{background:var(--second)}.swatch.c{background:var(--third)}.swatch.limit{height:0;border:0;border-top:2px dashed var(--bad);border-radius:0}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(250px,1fr));gap:14px;margin:8px 0}.plots svg.plot{width:100%}
figure{margin:0;min-width:0;max-width:400px}figcaption{font-size:.85rem;margin-bottom:2px;overflow-wrap:anywhere}
details{margin:8px 0}summary{cursor:pointer;color:var(--accent)}footer{margin-top:40px;color:var(--soft);font-size:.85rem}
ul.notes{margin:8px 0;padding-left:20px}ul.notes li{overflow-wrap:anywhere}
@media (max-width:600px){main{padding:16px 12px 32px}h1{font-size:1.3rem}.facts{grid-template-columns:1fr 1fr}th,td{padding:5px 8px}td.fixed code{display:block;width:max-content;max-width:17ch;white-space:normal;overflow-wrap:normal}td.text{min-width:13em}}
@media print{.scroll{overflow:visible}}`;

/** The style sheet of a page, plots included. */
export const PAGE_STYLE = `${scheme(':root')}${PAGE}${PLOT}`;

/** The style sheet of a picture that stands alone: it brings its own background. */
export const PICTURE_STYLE = `${scheme('svg')}${PLOT}svg.plot{background:var(--page)}`;
