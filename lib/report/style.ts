/** How a page looks: light, dark, on paper. Every colour has a letter or a word beside it. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --bg: #fff; --ink: #1b1e24; --soft: #565c68; --line: #d5d9e0; --panel: #f5f6f9; --link: #1d4fa8; --here: #1d4fa8;
  --private: #dcd5f7; --private2: #c9bef0; --private-ink: #2b1a6b;
  --shared: #cdeddd; --shared2: #a9dcc3; --shared-ink: #0b4029;
  --unbacked: #fff; --unbacked-ink: #5a6170;
  --faulting: #f9cdc8; --faulting2: #f1a69d; --faulting-ink: #6f0f08;
  --good: #0f6136; --bad: #a3160c; --warn: #7a4b00; --cool: #1d4fa8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #14161a; --ink: #e6e8ec; --soft: #a6acb8; --line: #363b45; --panel: #1c1f25; --link: #8fb6ff; --here: #8fb6ff;
    --private: #372d6d; --private2: #4a3d8f; --private-ink: #efebff;
    --shared: #124633; --shared2: #1c6249; --shared-ink: #d9f8e9;
    --unbacked: #14161a; --unbacked-ink: #a6acb8;
    --faulting: #74201a; --faulting2: #963630; --faulting-ink: #ffe9e7;
    --good: #6fd6a0; --bad: #ff9c92; --warn: #f0bd6a; --cool: #8fb6ff;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 82rem; background: var(--bg); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 1.8rem 0 .3rem; }
h3 { font-size: .95rem; margin: 0 0 .15rem; }
p { margin: .15rem 0 .4rem; }
a { color: var(--link); }
code, pre, .names td, .calls, .strip td { font-family: ui-monospace, 'DejaVu Sans Mono', monospace; }
.soft, .facts, .hint, .mem, p.calls { color: var(--soft); font-size: .87rem; }
.good { color: var(--good); } .bad, .not { color: var(--bad); }
:focus-visible { outline: 3px solid var(--here); outline-offset: -2px; }
h2:focus, li:focus { outline: none; }

.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; padding: 0; margin: .5rem 0 .8rem; list-style: none; font-size: .85rem; }
.legend .m, .legend .key { display: inline-block; min-width: 1.7em; padding: 0 .3em; margin-right: .35em; text-align: center; border: 1px solid var(--line); font-family: ui-monospace, 'DejaVu Sans Mono', monospace; font-weight: 600; }
.scroll { overflow-x: auto; padding-right: 1.4rem; }
.scroll:has(.matrix) { padding-right: 0; }
table { border-collapse: collapse; }
.strip th, .strip td { padding: 0; font-size: .78rem; text-align: center; min-width: 1.42rem; }
.strip th[scope=row] { position: sticky; left: 0; z-index: 1; background: var(--bg); padding-right: .6rem; text-align: right; white-space: nowrap; font-weight: 500; color: var(--soft); }
.strip .state { padding: 0; font-size: .69rem; letter-spacing: -.02em; border: 1px solid var(--line); background: var(--panel); font-weight: 600; max-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.strip td.m { border: 1px solid var(--bg); font-weight: 600; }
.h1 td { height: 1.3rem; } .h2 td { height: 2.2rem; } .h3 td { height: 3.2rem; } .h4 td { height: 4.6rem; }
.m.private { background: repeating-linear-gradient(135deg, var(--private) 0 5px, var(--private2) 5px 7px) var(--private); color: var(--private-ink); }
.m.shared { background: radial-gradient(var(--shared2) 1.5px, transparent 2px) 0 0 / 8px 8px var(--shared); color: var(--shared-ink); }
.m.unbacked { background: var(--unbacked); color: var(--unbacked-ink); box-shadow: inset 0 0 0 1px var(--line); }
.m.faulting { background: repeating-linear-gradient(45deg, var(--faulting) 0 3px, var(--faulting2) 3px 6px) var(--faulting); color: var(--faulting-ink); outline: 2px solid var(--faulting-ink); outline-offset: -3px; }
.m.changed { border-left: 2px solid var(--ink); }
.below tr:first-child td { padding-top: .35rem; }
.strip td.here { box-shadow: inset 2px 0 0 var(--here), inset -2px 0 0 var(--here); }
.strip .number a { text-decoration: none; }
.unexpected, .unexpected a { color: var(--bad); font-weight: 700; }
.strip .state:last-child { overflow: visible; text-align: left; padding-left: .15rem; }
.names td, .strip .names th { vertical-align: top; }
.strip .names th { padding-top: .3rem; }
.names span { writing-mode: vertical-rl; padding: .3rem 0; white-space: nowrap; color: var(--soft); }
.names td.here span { color: var(--ink); font-weight: 600; }
.f-refused, .f-done, .e-kernel { color: var(--good); } .f-convention, .e-library { color: var(--warn); } .f-nobody, .f-fault, .e-nobody { color: var(--bad); }
.f-lost { color: var(--cool); } .f-unsupported { color: var(--soft); }
.strip .below td { font-weight: 600; } .strip .below td.calls, .strip .below td.name { font-weight: 400; color: var(--soft); }

.panel { height: 10.5rem; overflow: auto; margin: .4rem 0 .8rem; padding: .5rem .9rem; background: var(--panel); border: 1px solid var(--line); border-left: 4px solid var(--here); }
.panel pre { max-height: 16rem; }
.panel:empty { display: none; }
.where { font-weight: 600; }
.steps { list-style: none; padding: 0; margin: .6rem 0 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(25rem, 1fr)); gap: .6rem; }
.step { border: 1px solid var(--line); border-left-width: 4px; padding: .5rem .8rem; scroll-margin-top: 1rem; overflow-wrap: anywhere; }
.b-refused { border-left-color: var(--good); } .b-convention { border-left-color: var(--warn); }
.b-nobody, .b-fault { border-left-color: var(--bad); } .b-lost { border-left-color: var(--cool); }
.step.here, .step:target { border-color: var(--here); }
.step.unexpected { border-color: var(--bad); }
.step.unexpected, .step.unexpected a { color: inherit; font-weight: inherit; }
.outcome { float: right; font-weight: 600; }
.reported code { background: var(--panel); padding: 0 .25em; }
pre { margin: .3rem 0 0; max-height: 22rem; overflow: auto; font-size: .75rem; white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; font-size: .87rem; color: var(--link); }

.matrix { width: 100%; margin: .5rem 0; }
.matrix th, .matrix td { border: 1px solid var(--line); padding: 0; text-align: left; vertical-align: top; }
.matrix th { padding: .35rem .6rem; background: var(--panel); white-space: nowrap; }
.matrix a { display: block; padding: .35rem .6rem; min-height: 3.2rem; color: inherit; text-decoration: none; }
.matrix a:hover { background: var(--panel); }
.matrix a[aria-current] { box-shadow: inset 0 0 0 2px var(--here); }
.matrix .verdict { display: block; font-weight: 600; white-space: nowrap; }
.matrix .passed .verdict { color: var(--good); } .matrix .failed .verdict { color: var(--bad); }
.matrix .count { font: 600 .8rem ui-monospace, 'DejaVu Sans Mono', monospace; margin-right: .15rem; }
.matrix .missing, .matrix .why { color: var(--soft); font-size: .85rem; }
.choice { font-size: .87rem; }

@media (max-width: 40rem) { body { padding: .8rem; } .steps { grid-template-columns: 1fr; } .outcome { float: none; } }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  :root {
    color-scheme: light;
    --bg: #fff; --ink: #000; --soft: #333; --line: #999; --panel: #fff; --link: #000; --here: #999;
    --private: #fff; --private2: #bbb; --private-ink: #000; --shared: #fff; --shared2: #999; --shared-ink: #000;
    --unbacked: #fff; --unbacked-ink: #000; --faulting: #fff; --faulting2: #ccc; --faulting-ink: #000;
    --good: #000; --bad: #000; --warn: #000; --cool: #000;
  }
  body { padding: 0; max-width: none; font-size: 10pt; }
  .panel, .choice { display: none; }
  .scroll { overflow: visible; }
  .m, .state { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .strip td.here, .matrix a[aria-current] { box-shadow: none; }
  .names td.here span { color: var(--soft); font-weight: 400; }
  .strip td.m { border: 1px solid #777; }
  .strip th, .strip td { font-size: 7pt; min-width: 1.2rem; }
  .strip .state { font-size: 6.5pt; }
  .steps { grid-template-columns: 1fr 1fr; }
  .step, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  a { text-decoration: none; }
}
`;
