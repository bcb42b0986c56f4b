// Draws the sections again for the part of the time that is wanted. Without it, the file shows the whole.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const LEFT = 180, RIGHT = 12, TOP = 34, ROW = 16, HEAD = 50, LANE_GAP = 8, SECTION_GAP = 26, FOOT = 22, LETTER = 6.7, NARROW = 1.5;
  const script = document.currentScript;
  const svg = (script && script.closest("svg")) || document.querySelector("svg.tine-boot");

  // ---- data

  const VALUES = new Uint8Array(128);
  [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"].forEach((c, i) => { VALUES[c.charCodeAt(0)] = i; });

  // Calls `use` with each group of `count` numbers.
  function unpack(text, count, use) {
    const group = new Array(count);
    let number = 0, factor = 1, at = 0;
    for (let i = 0; i < text.length; i++) {
      const digit = VALUES[text.charCodeAt(i)];
      number += (digit & 31) * factor;
      if (digit & 32) { factor *= 32; continue; }
      group[at++] = number;
      number = 0; factor = 1;
      if (at === count) { use(group); at = 0; }
    }
  }

  for (const section of SECTIONS) {
    section.scale = section.hertz || 1;
    for (const lane of section.lanes) {
      const rows = Array.from({ length: lane.rows }, () => ({ start: [], end: [], label: [], ending: [] }));
      let start = 0;
      unpack(lane.boxes, 4, ([after, length, label, row]) => {
        start += after;
        const to = rows[row >> 2];
        to.start.push(start); to.end.push(start + length); to.label.push(label); to.ending.push(row & 3);
      });
      lane.drawn = rows;
      lane.times = []; lane.about = [];
      let time = 0;
      unpack(lane.marks, 2, ([after, label]) => { time += after; lane.times.push(time); lane.about.push(label); });
      lane.boxes = lane.marks = null;
    }
  }

  // ---- state

  const longest = Math.max(...SECTIONS.map(section => section.length / section.scale));
  // What is shown, in seconds, or ticks where their length is not known.
  let from = 0, to = longest, pattern = null, width = 1200;
  const timed = SECTIONS.every(section => section.hertz);

  function duration(units, section) {
    if (!section.hertz) {
      const [factor, unit] = units >= 1e9 ? [1e9, "G"] : units >= 1e6 ? [1e6, "M"] : units >= 1e3 ? [1e3, "k"] : [1, ""];
      return (factor === 1 ? String(units) : (units / factor).toFixed(3)) + " " + unit + "ticks";
    }
    const seconds = units / section.hertz, size = Math.abs(seconds);
    if (size >= 100) return seconds.toFixed(1) + " s";
    if (size >= 0.9995) return seconds.toFixed(3) + " s";
    if (size >= 0.0009995) return (seconds * 1e3).toFixed(3) + " ms";
    if (size >= 0.5e-9) return (seconds * 1e6).toFixed(3) + " us";
    return "0";
  }

  const share = (units, section) => section.whole ? (100 * units / section.whole).toFixed(units * 1000 < section.whole ? 3 : 1) + " %" : "";

  // ---- drawing

  function element(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (parent) parent.appendChild(made);
    return made;
  }

  const escape = text => text.replace(/[&<>"]/g, c => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
  const cut = (text, most) => text.length <= most ? text : text.slice(0, Math.max(0, most - 2)) + "..";
  const laneHeight = lane => Math.max(lane.rows, 2) * ROW + LANE_GAP;

  // The first place in a sorted list whose value is not below.
  function first(list, value) {
    let low = 0, high = list.length;
    while (low < high) { const middle = (low + high) >> 1; if (list[middle] < value) low = middle + 1; else high = middle; }
    return low;
  }

  function step(least) {
    const power = Math.pow(10, Math.floor(Math.log10(least)));
    return [1, 2, 5, 10].map(factor => factor * power).find(found => found >= least * 0.999) || power;
  }

  function timeLabel(time, by) {
    const [factor, unit] = timed
      ? by >= 0.1 ? [1, "s"] : by >= 1e-4 ? [1e3, "ms"] : by >= 1e-7 ? [1e6, "us"] : [1e9, "ns"]
      : by >= 1e8 ? [1e-9, "G"] : by >= 1e5 ? [1e-6, "M"] : by >= 1e2 ? [1e-3, "k"] : [1, ""];
    const digits = Math.min(9, Math.max(0, -Math.floor(Math.log10(by * factor))));
    return ((time * factor).toFixed(digits) + " " + unit).trim();
  }

  let all, tip, drag, told;

  function draw() {
    const perSecond = (width - LEFT - RIGHT) / (to - from);
    const parts = [];
    let y = TOP;
    for (const section of SECTIONS) {
      section.y = y;
      let bottom = y + HEAD + section.lanes.reduce((sum, lane) => sum + laneHeight(lane), 0);
      parts.push(`<text class="title" x="${LEFT}" y="${y + 14}">${escape(section.title)}</text>`,
        `<text class="subtitle" x="${LEFT}" y="${y + 29}">${escape(section.subtitle)}</text>`);
      const offset = section.offset / section.scale, by = step((to - from) * 90 / (width - LEFT - RIGHT));
      let grid = "";
      for (let at = Math.ceil((offset + from) / by), n = 0; at * by <= offset + to && n < 64; at++, n++) {
        const x = (LEFT + (at * by - offset - from) * perSecond).toFixed(2);
        grid += `M${x} ${y + HEAD - 4}V${bottom}`;
        parts.push(`<text class="time" x="${x}" y="${y + HEAD - 7}">${timeLabel(at * by, by)}</text>`);
      }
      parts.push(`<path class="grid" d="${grid}"/>`);
      y += HEAD;
      for (const lane of section.lanes) {
        lane.y = y;
        parts.push(`<text class="lane" x="${LEFT - 8}" y="${y + 12}">${escape(cut(lane.title, 25))}</text>`,
          `<text class="sub" x="${LEFT - 8}" y="${y + 24}">${escape(cut(lane.subtitle, 31))}</text>`);
        drawLane(section, lane, perSecond, parts);
        y += laneHeight(lane);
      }
      if (section.done !== null) {
        const x = LEFT + (section.done / section.scale - from) * perSecond;
        if (x >= LEFT && x <= width - RIGHT) parts.push(`<path class="done" d="M${x.toFixed(2)} ${section.y + HEAD - 4}V${bottom}"/>`);
      }
      y += SECTION_GAP;
    }
    all.innerHTML = parts.join("");
    y += FOOT;
    svg.setAttribute("viewBox", `0 0 ${width} ${y}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", y);
  }

  function drawLane(section, lane, perSecond, parts) {
    const perUnit = perSecond / section.scale, low = from * section.scale, high = to * section.scale, edge = width - RIGHT;
    parts.push(`<g class="plot">`);
    lane.drawn.forEach((row, number) => {
      const y = lane.y + number * ROW;
      let blocks = "", hits = "", blockFrom = -1, blockTo = -1, blockHit = false;
      const flush = () => {
        if (blockFrom < 0) return;
        const path = `M${blockFrom.toFixed(2)} ${y}h${Math.max(blockTo - blockFrom, 0.4).toFixed(2)}v15H${blockFrom.toFixed(2)}z`;
        if (blockHit) hits += path; else blocks += path;
        blockFrom = -1;
      };
      // Within a row nothing overlaps: ends are sorted, too.
      for (let i = first(row.end, low); i < row.start.length && row.start[i] <= high; i++) {
        const a = Math.max(LEFT, LEFT + (row.start[i] - low) * perUnit), b = Math.min(edge, LEFT + (row.end[i] - low) * perUnit);
        const label = section.labels[row.label[i]], hit = pattern && label.hit;
        if (b - a < NARROW) {
          if (blockFrom >= 0 && a - blockTo < 1 && blockHit === !!hit) { blockTo = Math.max(blockTo, b); continue; }
          flush();
          blockFrom = a; blockTo = b; blockHit = !!hit;
          continue;
        }
        flush();
        const seen = pattern ? (hit ? " hit" : " miss") : "", open = row.ending[i] === 2 ? " open" : "";
        parts.push(`<rect class="${label[1]}${seen}${open}" x="${a.toFixed(2)}" y="${y}" width="${(b - a).toFixed(2)}" height="15"/>`);
        const letters = Math.floor((b - a - 6) / LETTER);
        if (letters >= 3) parts.push(`<text x="${(a + 3).toFixed(2)}" y="${y + 11.5}">${escape(cut(label[0], letters))}</text>`);
      }
      flush();
      if (blocks) parts.push(`<path class="many${pattern ? " miss" : ""}" d="${blocks}"/>`);
      if (hits) parts.push(`<path class="many hit" d="${hits}"/>`);
    });
    let marks = "", last = -9;
    for (let i = first(lane.times, low); i < lane.times.length && lane.times[i] <= high; i++) {
      const x = LEFT + (lane.times[i] - low) * perUnit;
      if (x - last < 1) continue;
      marks += `M${x.toFixed(2)} ${lane.y - 4}v4`;
      last = x;
    }
    if (marks) parts.push(`<path class="mark" d="${marks}"/>`);
    parts.push("</g>");
  }

  // ---- search: a regular expression, or a text where it is none

  function setPattern(text) {
    pattern = null;
    if (text) {
      try { pattern = new RegExp(text, "i"); }
      catch { pattern = new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i"); }
    }
    for (const section of SECTIONS) for (const label of section.labels) label.hit = !!pattern && pattern.test(label[0]);
    draw();
    tell();
  }

  // Two lists of times without overlaps, each in order, as one.
  function merge(a, b) {
    const all = [];
    for (let i = 0, j = 0; i < a.length || j < b.length;) all.push(j >= b.length || (i < a.length && a[i][0] <= b[j][0]) ? a[i++] : b[j++]);
    return all;
  }

  // How much of a lane is within matches, and how many there are; those within other matches take no more time.
  function matches(section, lane) {
    let count = 0, time = 0, covered = [];
    for (const row of lane.drawn) {
      const here = [];
      for (let i = 0, at = 0; i < row.start.length; i++) {
        if (!section.labels[row.label[i]].hit) continue;
        count++;
        while (at < covered.length && covered[at][1] <= row.start[i]) at++;
        if (at < covered.length && covered[at][0] <= row.start[i] && covered[at][1] >= row.end[i]) continue;
        time += row.end[i] - row.start[i];
        here.push([row.start[i], row.end[i]]);
      }
      if (here.length) covered = merge(covered, here);
    }
    return { count, time };
  }

  // Says how much there is of what was searched for.
  function tell() {
    if (!pattern) { told.textContent = ""; return; }
    let count = 0;
    const times = SECTIONS.map(section => {
      let time = 0, way = null;
      for (const lane of section.lanes) {
        const found = matches(section, lane);
        if (lane.title === "way to a booted system") { way = found.time; continue; }
        count += found.count;
        time += found.time;
      }
      return duration(time, section) + (way === null ? ` (${share(time, section)})` : `, on the way ${duration(way, section)} (${share(way, section)})`);
    });
    told.textContent = `${count} found: ${times.join("; ")}`;
  }

  // ---- zoom

  function show(a, b) {
    const least = timed ? 1e-8 : 10;
    let length = Math.min(Math.max(b - a, least), longest);
    from = Math.min(Math.max(0, a), longest - length);
    to = from + length;
    draw();
  }

  function zoom(factor, at) {
    const middle = at === undefined ? (from + to) / 2 : at;
    show(middle - (middle - from) * factor, middle + (to - middle) * factor);
  }

  // ---- what is under the pointer

  function point(event) {
    const box = svg.getBoundingClientRect(), ratio = width / box.width;
    return { x: (event.clientX - box.left) * ratio, y: (event.clientY - box.top) * ratio };
  }

  const timeAt = x => from + (x - LEFT) / (width - LEFT - RIGHT) * (to - from);

  function find({ x, y }) {
    if (x < LEFT || x > width - RIGHT) return null;
    for (const section of SECTIONS) for (const lane of section.lanes) {
      if (y < lane.y - 5 || y >= lane.y + lane.rows * ROW) continue;
      const time = timeAt(x) * section.scale, near = (to - from) * section.scale / (width - LEFT - RIGHT);
      if (y < lane.y) {
        const i = first(lane.times, time - 3 * near);
        return i < lane.times.length && lane.times[i] <= time + 3 * near ? { section, lane, mark: i } : null;
      }
      const row = lane.drawn[Math.floor((y - lane.y) / ROW)];
      let i = first(row.end, time - near);
      if (i >= row.start.length || row.start[i] > time + near) return null;
      // Of several under the pointer, the one that it is in.
      for (let j = i; j < row.start.length && row.start[j] <= time; j++) if (row.end[j] >= time) { i = j; break; }
      let several = 0, sum = 0;
      if ((row.end[i] - row.start[i]) < NARROW * near) {
        for (let j = first(row.end, time - near); j < row.start.length && row.start[j] <= time + near; j++) { several++; sum += row.end[j] - row.start[j]; }
      }
      return { section, lane, row, i, several, sum };
    }
    return null;
  }

  // Time of a box without that of the boxes below it.
  function own(found) {
    const below = found.lane.drawn[found.lane.drawn.indexOf(found.row) + 1];
    let time = found.row.end[found.i] - found.row.start[found.i];
    if (!below) return time;
    for (let j = first(below.end, found.row.start[found.i]); j < below.start.length && below.start[j] < found.row.end[found.i]; j++) {
      if (below.start[j] >= found.row.start[found.i]) time -= below.end[j] - below.start[j];
    }
    return time;
  }

  function describe(found) {
    const { section, lane } = found;
    const at = units => duration(section.offset + units, section);
    if (found.mark !== undefined) return [section.labels[lane.about[found.mark]][0], `at ${at(lane.times[found.mark])}, ${lane.title}`];
    const { row, i } = found, label = section.labels[row.label[i]], time = row.end[i] - row.start[i];
    const lines = [label[0]];
    if (label[2]) lines.push(label[2]);
    else lines.push(`${duration(time, section)}, ${share(time, section)} of the whole; self ${duration(own(found), section)}`);
    if (!label[2]) lines.push(`from ${at(row.start[i])}, ${lane.title}`);
    if (row.ending[i] === 1) lines.push("its end is not in the log: taken to be its caller's");
    if (row.ending[i] === 2) lines.push("it does not end in the log");
    if (found.several > 1) lines.push(`and ${found.several - 1} more here, ${duration(found.sum, section)} together: zoom in`);
    return lines;
  }

  function hover(event) {
    const at = point(event), found = find(at);
    tip.innerHTML = "";
    if (!found) return;
    const lines = describe(found).map(line => cut(line, 110));
    const w = Math.max(...lines.map(line => line.length)) * LETTER + 12, h = lines.length * 14 + 6;
    const x = Math.max(2, Math.min(at.x + 12, width - w - 2)), y = at.y + 18;
    element("rect", { x, y, width: w, height: h, rx: 3 }, tip);
    lines.forEach((line, n) => { element("text", { x: x + 6, y: y + 14 + n * 14 }, tip).textContent = line; });
  }

  // ---- start

  function tools() {
    const place = element("foreignObject", { x: LEFT, y: 4, width: 900, height: 28 }, svg);
    const box = document.createElementNS("http://www.w3.org/1999/xhtml", "div");
    box.setAttribute("class", "tools");
    place.appendChild(box);
    const add = (name, set) => Object.assign(box.appendChild(document.createElementNS("http://www.w3.org/1999/xhtml", name)), set);
    const input = add("input", { type: "search", placeholder: "search (/)" });
    add("button", { textContent: "+", title: "zoom in" }).onclick = () => zoom(0.5);
    add("button", { textContent: "-", title: "zoom out" }).onclick = () => zoom(2);
    add("button", { textContent: "all", title: "show all (0)" }).onclick = () => show(0, longest);
    told = add("span", {});
    told.setAttribute("class", "told");
    let typing = 0;
    input.oninput = () => { clearTimeout(typing); typing = setTimeout(() => setPattern(input.value), 120); };
    return input;
  }

  all = svg.querySelector("g.all");
  drag = element("rect", { class: "drag", width: 0, height: 0 }, svg);
  tip = element("g", { class: "tip" }, svg);
  const input = tools();
  let began = null;

  svg.addEventListener("mousemove", event => {
    if (!began) return hover(event);
    const a = Math.max(LEFT, Math.min(began.x, point(event).x)), b = Math.min(width - RIGHT, Math.max(began.x, point(event).x));
    if (b - a > 3) for (const [key, value] of Object.entries({ x: a, y: TOP, width: b - a, height: svg.viewBox.baseVal.height - TOP })) drag.setAttribute(key, value);
  });
  svg.addEventListener("mouseleave", () => { tip.innerHTML = ""; });
  svg.addEventListener("mousedown", event => {
    if (event.button === 0 && point(event).y > TOP && point(event).x >= LEFT) { began = point(event); event.preventDefault(); input.blur(); }
  });
  window.addEventListener("mouseup", event => {
    if (!began) return;
    const a = began, b = point(event);
    began = null;
    drag.setAttribute("width", 0);
    if (Math.abs(a.x - b.x) > 3) return show(timeAt(Math.max(LEFT, Math.min(a.x, b.x))), timeAt(Math.min(width - RIGHT, Math.max(a.x, b.x))));
    const found = find(b);
    if (found && found.row) {
      const { section, row, i } = found, pad = (row.end[i] - row.start[i]) * 0.02;
      show((row.start[i] - pad) / section.scale, (row.end[i] + pad) / section.scale);
    }
  });
  svg.addEventListener("dblclick", () => show(0, longest));
  svg.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
    event.preventDefault();
    const amount = event.deltaY || event.deltaX;
    zoom(amount > 0 ? 1.25 : 0.8, timeAt(Math.max(LEFT, point(event).x)));
  }, { passive: false });
  document.addEventListener("keydown", event => {
    if (event.target instanceof Element && event.target.localName === "input") {
      if (event.key === "Escape") { input.value = ""; setPattern(""); input.blur(); }
      return;
    }
    const shift = (to - from) / 4;
    const actions = { "/": () => { event.preventDefault(); input.focus(); }, "+": () => zoom(0.5), "-": () => zoom(2),
      "0": () => show(0, longest), Escape: () => show(0, longest),
      ArrowLeft: () => show(from - shift, to - shift), ArrowRight: () => show(from + shift, to + shift) };
    if (actions[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) actions[event.key]();
  });
  function fit() {
    const room = svg.parentElement ? svg.parentElement.clientWidth : window.innerWidth;
    const wanted = Math.max(700, Math.floor(room || 1200));
    if (wanted !== width || !all.querySelector(".plot")) { width = wanted; draw(); }
  }
  window.addEventListener("resize", fit);
  window.tineBoot = { search: text => { input.value = text; setPattern(text); }, show, shown: () => [from, to], all: longest };
  fit();
})();
