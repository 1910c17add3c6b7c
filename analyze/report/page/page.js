'use strict';
// Rules of this file: guest strings are only ever set as textContent or drawn
// with fillText; no innerHTML, no eval, no URL is made of data.
(async () => {
const $ = id => document.getElementById(id);
const bytes = Uint8Array.from(atob($('data').textContent), c => c.charCodeAt(0));
const D = JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).text());
const ns = s => BigInt(s);
const base = ns(D.start);
// Milliseconds since the start of the tape, as a number: exact to well below a microsecond.
const ms = s => s === '0' ? null : Number((ns(s) - base) / 1000n) / 1000;
const span = Math.max(1, ms(D.end) ?? 1);
const clean = s => Array.from(String(s ?? ''), c => /[\p{C}\u2028\u2029]/u.test(c) ? '\\u{' + c.codePointAt(0).toString(16) + '}' : c).join('');
const stamp = s => {
  if (s === '0') return 'unknown';
  const v = ns(s), sec = v / 1000000000n, frac = v % 1000000000n;
  return new Date(Number(sec) * 1000).toISOString().slice(0, 19).replace('T', ' ') + '.' + frac.toString().padStart(9, '0').slice(0, 3);
};

// The day is left out of the list when all of the tape lies in one.
const oneDay = stamp(D.start).slice(0, 10) === stamp(D.end).slice(0, 10);
const brief = s => oneDay && stamp(s).slice(0, 10) === stamp(D.start).slice(0, 10) ? stamp(s).slice(11) : stamp(s);
const levels = ['critical', 'high', 'medium', 'low', 'info'];

// One list of events, in time order. Every event knows its neighbours.
const ev = [];
const at = {process: [], file: [], conn: [], finding: []};
function add(kind, i, o, what, who) {
  const t = ms(o.t) ?? 0, u = o.u && o.u !== '0' ? ms(o.u) : kind === 'process' ? span : t;
  const e = {kind, i, o, t, u: Math.max(t, u), what: clean(what), who: clean(who), near: new Set()};
  at[kind][i] = e; ev.push(e); return e;
}
const named = i => i >= 0 && D.processes[i] ? `${D.processes[i].name} (${D.processes[i].pid})` : '';
D.processes.forEach((p, i) => add('process', i, p, `${p.name} (${p.pid}) ${p.args || p.exe}`, `parent ${p.ppid}`));
D.files.forEach((f, i) => add('file', i, f, f.old ? `${f.op} ${f.old} → ${f.path}` : `${f.op} ${f.path}`, named(f.process)));
D.conns.forEach((c, i) => add('conn', i, c, `${c.proto} ${c.orig} → ${c.resp} ${c.service} ${c.state} ${c.detail}`, named(c.process)));
D.findings.forEach((f, i) => add('finding', i, f, f.title, named((f.processes || [])[0] ?? -1)));
const link = (a, b) => { if (a && b && a !== b) { a.near.add(b); b.near.add(a); } };
D.processes.forEach((p, i) => link(at.process[i], at.process[p.parent]));
D.files.forEach((f, i) => link(at.file[i], at.process[f.process]));
D.conns.forEach((c, i) => link(at.conn[i], at.process[c.process]));
D.findings.forEach((f, i) => {
  for (const p of f.processes || []) link(at.finding[i], at.process[p]);
  for (const x of f.files || []) link(at.finding[i], at.file[x]);
  for (const c of f.conns || []) link(at.finding[i], at.conn[c]);
});
const order = {finding: 0, process: 1, conn: 2, file: 3};
ev.sort((a, b) => a.t - b.t || order[a.kind] - order[b.kind] || a.i - b.i);
ev.forEach(e => { e.text = `${e.kind} ${e.what} ${e.who} ${clean(e.o.exe)} ${clean(e.o.why)}`.toLowerCase(); });

// Lanes: in each group, an event takes the first row that is free by then.
const groups = ['finding', 'conn', 'file', 'process'];
const caps = {finding: 16, process: 400, conn: 12, file: 8};
function pack(list, cap) {
  const free = [];
  for (const e of list) {
    let r = free.findIndex(f => f <= e.t);
    if (r < 0) r = free.length < cap ? free.length : e.i % cap;
    free[r] = Math.max(free[r] ?? 0, e.u + span * (e.kind === 'finding' ? 0.2 : 0.004));
    e.row = r;
  }
  return Math.max(1, free.length);
}

let shown = [], sel = null, view = {a: -span * 0.01, b: span * 1.01}, scroll = 0, rows = {};
function filter() {
  const kinds = new Set([...document.querySelectorAll('input[name=kind]:checked')].map(x => x.value));
  const words = $('q').value.toLowerCase().split(/\s+/).filter(Boolean), kernel = $('kernel').checked;
  shown = ev.filter(e => kinds.has(e.kind) && (kernel || !(e.kind === 'process' && e.o.kernel)) && words.every(w => e.text.includes(w)));
  rows = {};
  for (const g of groups) rows[g] = pack(shown.filter(e => e.kind === g), caps[g]);
  $('status').textContent = `${shown.length} of ${ev.length} events` + (D.gaps.length ? `; ${D.gaps.length} gaps in the recording` : '');
  $('grid').setAttribute('aria-rowcount', shown.length);
  $('rows').style.height = shown.length * 24 + 'px';
  // What is chosen is among what is shown, and in sight.
  if (shown.length && !shown.includes(sel)) choose(shown[0], true); else if (sel && shown.length) choose(sel, true); else { list(); draw(); }
}

// The list is virtual: only the rows in sight exist.
function list() {
  const g = $('grid'), first = Math.max(0, Math.floor(g.scrollTop / 24) - 4), last = Math.min(shown.length, first + Math.ceil(g.clientHeight / 24) + 8);
  const frag = document.createDocumentFragment();
  for (let i = first; i < last; i++) {
    const e = shown[i], r = document.createElement('div');
    r.className = 'row ' + e.kind + (levels.includes(e.o.severity) ? ' ' + e.o.severity : ''); r.style.top = i * 24 + 'px'; r.id = 'r' + i;
    r.setAttribute('role', 'row'); r.setAttribute('aria-rowindex', i + 1); r.setAttribute('aria-selected', e === sel);
    for (const [c, v] of [['t', brief(e.o.t)], ['k', e.kind === 'file' ? e.o.op : e.kind === 'finding' ? e.o.severity : e.kind], ['w', e.what], ['p', e.who]]) {
      const s = document.createElement('span'); s.className = c; s.setAttribute('role', 'gridcell'); s.textContent = c === 'k' ? clean(v) : v; r.append(s);
    }
    r.addEventListener('click', () => choose(e, false));
    frag.append(r);
  }
  $('rows').replaceChildren(frag);
  const i = shown.indexOf(sel);
  if (i >= 0) g.setAttribute('aria-activedescendant', 'r' + i); else g.removeAttribute('aria-activedescendant');
}

function choose(e, reveal) {
  sel = e;
  if (reveal) {
    const i = shown.indexOf(e), g = $('grid');
    if (i >= 0 && (i * 24 < g.scrollTop || i * 24 + 24 > g.scrollTop + g.clientHeight)) g.scrollTop = i * 24 - g.clientHeight / 2;
    if (e.u < view.a || e.t > view.b) { const w = view.b - view.a; view = {a: e.t - w / 2, b: e.t + w / 2}; }
  }
  list(); draw(); detail(e);
}

function detail(e) {
  const d = $('detail'), h = document.createElement('h2'), dl = document.createElement('dl');
  h.textContent = e.what;
  const fields = [['kind', e.kind], ['from', stamp(e.o.t)], ['until', e.o.u && e.o.u !== '0' ? stamp(e.o.u) : e.kind === 'process' ? 'alive when last seen' : '']];
  for (const k of ['severity', 'why', 'basis', 'pid', 'ppid', 'uid', 'exe', 'args', 'op', 'path', 'old', 'proto', 'orig', 'resp', 'service', 'state', 'detail', 'grade', 'evidence']) fields.push([k, e.o[k]]);
  for (const [k, v] of fields) {
    if (v === undefined || v === null || v === '') continue;
    const t = document.createElement('dt'), x = document.createElement('dd');
    t.textContent = k; x.textContent = clean(v); dl.append(t, x);
  }
  const parts = [h, dl];
  const near = [...e.near].sort((a, b) => a.t - b.t || a.i - b.i);
  if (near.length) {
    const hn = document.createElement('h2'), ul = document.createElement('ul');
    hn.textContent = `Belongs together with (${near.length})`;
    for (const n of near.slice(0, 200)) {
      const li = document.createElement('li'), b = document.createElement('button');
      b.type = 'button'; b.textContent = `${stamp(n.o.t)}  ${n.kind}: ${n.what}`;
      b.addEventListener('click', () => { choose(n, true); d.focus(); });
      li.append(b); ul.append(li);
    }
    parts.push(hn, ul);
  }
  d.replaceChildren(...parts);
}

const cv = $('lanes'), cx = cv.getContext('2d');
const x = t => (t - view.a) / (view.b - view.a) * cv.clientWidth;
const tOf = px => view.a + px / cv.clientWidth * (view.b - view.a);
let boxes = [], pending = false;
function draw() { if (!pending) { pending = true; requestAnimationFrame(() => { pending = false; paint(); }); } }
function paint() {
  const w = cv.clientWidth, h = cv.clientHeight, r = window.devicePixelRatio || 1, css = getComputedStyle(document.documentElement);
  const col = n => css.getPropertyValue('--' + n).trim();
  cv.width = w * r; cv.height = h * r; cx.setTransform(r, 0, 0, r, 0, 0);
  cx.clearRect(0, 0, w, h); cx.font = '11px system-ui,sans-serif'; cx.textBaseline = 'middle';
  for (const g of D.gaps) { cx.fillStyle = col('gap'); const a = x(ms(g.t) ?? 0), b = x(ms(g.u) ?? 0); cx.fillRect(a, 18, Math.max(2, b - a), h); }
  axis(w, h, col);
  for (const s of D.snapshots) { const p = x(ms(s.t) ?? 0); cx.strokeStyle = col('snap'); cx.beginPath(); cx.moveTo(p, 18); cx.lineTo(p, h); cx.stroke(); cx.fillStyle = col('snap'); cx.fillText(clean(s.name), p + 3, h - 8); }
  boxes = [];
  const lane = 14; let y = 22 - scroll;
  for (const g of groups) {
    cx.fillStyle = col('dim'); if (y > 10) cx.fillText({finding: 'Findings', process: 'Processes', conn: 'Connections', file: 'Files'}[g], 4, y + 6);
    y += 15;
    const density = new Map();
    for (const e of shown) {
      if (e.kind !== g || e.u < view.a || e.t > view.b) continue;
      const yy = y + e.row * lane; if (yy < 14 || yy > h) continue;
      const a = Math.max(-2, x(e.t)), b = Math.min(w + 2, x(e.u)), bw = Math.max(3, b - a);
      const key = (a | 0) * 4096 + e.row; const seen = density.get(key) || 0; density.set(key, seen + 1);
      if (seen > 2 && e !== sel) continue;
      cx.fillStyle = e === sel ? col('snap') : col(g === 'process' && e.o.kernel ? 'kernel' : g === 'finding' && levels.includes(e.o.severity) ? e.o.severity : g);
      cx.globalAlpha = g === 'finding' || e === sel ? 0.9 : +col('lane');
      cx.fillRect(a, yy, bw, lane - 3); cx.globalAlpha = 1;
      boxes.push([a, yy, bw, lane, e]);
      if (bw > 40 || g === 'finding') { cx.fillStyle = col('fg'); cx.save(); cx.beginPath(); cx.rect(Math.max(a, 0), yy, g === 'finding' ? 260 : bw, lane); cx.clip(); cx.fillText(e.what.slice(0, 120), Math.max(a, 0) + 4, yy + 5.5); cx.restore(); }
    }
    y += rows[g] * lane + 6;
  }
  total = y + scroll;
  if (sel) for (const n of sel.near) {
    const p = boxes.find(b => b[4] === sel), q = boxes.find(b => b[4] === n);
    if (p && q) { cx.strokeStyle = col('snap'); cx.beginPath(); cx.moveTo(p[0] + 2, p[1] + 6); cx.lineTo(q[0] + 2, q[1] + 6); cx.stroke(); }
  }
}
let total = 0;
function axis(w, h, col) {
  const want = (view.b - view.a) / Math.max(1, w / 110), steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5, 216e5, 864e5];
  const st = steps.find(s => s >= want) || 864e5 * Math.ceil(want / 864e5);
  cx.strokeStyle = col('line'); cx.fillStyle = col('dim');
  for (let t = Math.ceil(view.a / st) * st; t < view.b; t += st) {
    const p = x(t); cx.beginPath(); cx.moveTo(p, 16); cx.lineTo(p, h); cx.stroke();
    const s = stamp((base + BigInt(Math.round(t * 1e6))).toString()); cx.fillText(st < 1000 ? s.slice(14) : s.slice(11, 19), p + 2, 8);
  }
}
function zoom(f, c = cv.clientWidth / 2) { const t = tOf(c); view = {a: t - (t - view.a) * f, b: t + (view.b - t) * f}; if (view.b - view.a < 0.01) view.b = view.a + 0.01; draw(); }
function pan(px) { const d = px / cv.clientWidth * (view.b - view.a); view = {a: view.a + d, b: view.b + d}; draw(); }
cv.addEventListener('wheel', e => {
  e.preventDefault();
  if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) pan(e.deltaX || e.deltaY);
  else if (e.ctrlKey || e.altKey) { scroll = Math.max(0, Math.min(total - 60, scroll + e.deltaY)); draw(); }
  else zoom(e.deltaY > 0 ? 1.2 : 1 / 1.2, e.offsetX);
}, {passive: false});
let drag = null;
cv.addEventListener('pointerdown', e => { drag = {x: e.offsetX, y: e.offsetY, moved: false}; cv.setPointerCapture(e.pointerId); });
cv.addEventListener('pointermove', e => {
  if (!drag) return;
  if (Math.abs(e.offsetX - drag.x) + Math.abs(e.offsetY - drag.y) > 3) drag.moved = true;
  if (drag.moved) { pan(drag.x - e.offsetX); scroll = Math.max(0, Math.min(Math.max(0, total - 60), scroll + drag.y - e.offsetY)); drag.x = e.offsetX; drag.y = e.offsetY; }
});
cv.addEventListener('pointerup', e => {
  if (drag && !drag.moved) { const hit = boxes.findLast(b => e.offsetX >= b[0] - 2 && e.offsetX <= b[0] + b[2] + 2 && e.offsetY >= b[1] && e.offsetY <= b[1] + b[3]); if (hit) choose(hit[4], true); }
  drag = null;
});
$('grid').addEventListener('scroll', list);
$('grid').addEventListener('keydown', e => {
  const i = shown.indexOf(sel), page = Math.max(1, Math.floor($('grid').clientHeight / 24) - 1);
  const to = {ArrowDown: i + 1, ArrowUp: i - 1, PageDown: i + page, PageUp: i - page, Home: 0, End: shown.length - 1}[e.key];
  if (to !== undefined && shown.length) { e.preventDefault(); choose(shown[Math.max(0, Math.min(shown.length - 1, to))], true); }
  else if (e.key === 'Enter') { e.preventDefault(); $('detail').focus(); }
  else if (e.key === '+' || e.key === '=') zoom(1 / 1.3); else if (e.key === '-') zoom(1.3);
  else if (e.key === 'ArrowLeft') pan(-80); else if (e.key === 'ArrowRight') pan(80);
});
$('q').addEventListener('input', filter);
$('q').addEventListener('keydown', e => {
  if (e.key === 'Enter') { e.preventDefault(); $('grid').focus(); }
  else if (e.key === 'Escape') { e.preventDefault(); $('q').value = ''; filter(); }
});
$('detail').addEventListener('keydown', e => { if (e.key === 'Escape') $('grid').focus(); });
$('controls').addEventListener('change', filter);
$('controls').addEventListener('submit', e => e.preventDefault());
$('zoomin').addEventListener('click', () => zoom(1 / 1.5)); $('zoomout').addEventListener('click', () => zoom(1.5));
$('fit').addEventListener('click', () => { view = {a: -span * 0.01, b: span * 1.01}; scroll = 0; draw(); });
$('theme').addEventListener('click', () => {
  const c = document.documentElement.classList, dark = c.contains('dark') || (!c.contains('light') && matchMedia('(prefers-color-scheme: dark)').matches);
  c.remove('dark', 'light'); c.add(dark ? 'light' : 'dark'); draw();
});
addEventListener('keydown', e => { if (e.key === '/' && document.activeElement !== $('q')) { e.preventDefault(); $('q').focus(); } });
addEventListener('resize', () => { list(); draw(); });
$('title').textContent = clean(D.title);
$('about').textContent = `${clean(D.tape)} · ${stamp(D.start)} to ${stamp(D.end)} UTC · ${D.processes.length} processes, ${D.files.length} file events, ${D.conns.length} connections, ${D.findings.length} findings` + (D.root ? ` · tree root ${clean(D.root).slice(0, 16)}…` : '') + ` · xentape ${clean(D.version)}`;
sel = levels.map(l => ev.find(e => e.o.severity === l)).find(Boolean) ?? null;
filter();
document.documentElement.dataset.ready = 'true';
})();
