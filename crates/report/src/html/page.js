(function () {
"use strict";
var data = JSON.parse(document.getElementById("data").textContent);
var head = data.head, tasks = data.tasks;
var PAGE_ROWS = 200;
var ended = head.status !== "running" && head.status !== "interrupted";

function $(id) { return document.getElementById(id); }

// Builds an element; children are elements or text, and text stays text.
function el(tag, attributes) {
  var node = document.createElement(tag);
  Object.keys(attributes || {}).forEach(function (key) {
    var value = attributes[key];
    if (key === "class") node.className = value;
    else if (key === "style") Object.keys(value).forEach(function (name) { node.style[name] = value[name]; });
    else if (key === "click") node.addEventListener("click", value);
    else node.setAttribute(key, value);
  });
  for (var i = 2; i < arguments.length; i++) {
    var child = arguments[i];
    if (child === null || child === undefined || child === "") continue;
    node.appendChild(typeof child === "object" ? child : document.createTextNode(String(child)));
  }
  return node;
}

// A message, in which pairs of backticks mean code.
function prose(text) {
  var pieces = text.split("`"), span = el("span", {});
  if (pieces.length % 2 === 0) return el("span", {}, text);
  pieces.forEach(function (piece, n) { if (piece) span.appendChild(n % 2 ? el("code", {}, piece) : document.createTextNode(piece)); });
  return span;
}
function clear(node) { while (node.firstChild) node.removeChild(node.firstChild); return node; }
function pad(number) { return number < 10 ? "0" + number : String(number); }
function time(us) {
  var ms = us / 1000;
  if (us === 0) return "0 ms";
  if (ms < 10) return ms.toFixed(1) + " ms";
  if (ms < 1000) return Math.floor(ms) + " ms";
  if (ms < 60000) return (Math.floor(ms / 10) / 100).toFixed(2) + " s";
  var s = Math.floor(ms / 1000);
  if (s < 3600) return Math.floor(s / 60) + " min " + pad(s % 60) + " s";
  return Math.floor(s / 3600) + " h " + pad(Math.floor(s % 3600 / 60)) + " min";
}
function bytes(count) {
  if (!count) return "";
  var units = ["B", "KiB", "MiB", "GiB", "TiB"], unit = 0;
  while (count >= 1024 && unit < 4) { count /= 1024; unit++; }
  return (unit ? count.toFixed(1) : count) + " " + units[unit];
}
function kind(task) { return task.outcome === "success" ? task.tier || "full" : task.outcome === "failed" ? "failed" : "skipped"; }
function label(task) { return task.outcome === "success" ? task.tier || "" : task.outcome; }
function color(name) { return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim(); }
function dot(name) { return el("span", { "class": "dot", style: { background: "var(--" + name + ")" } }); }

var critical = {};
data.critical.forEach(function (index) { critical[index] = true; });
var neededBy = tasks.map(function () { return []; });
tasks.forEach(function (task, index) { task.needs.forEach(function (other) { neededBy[other].push(index); }); });

// ---- theme ----
var root = document.documentElement;
var saved = null;
try { saved = localStorage.getItem("buildnet-theme"); } catch (e) { /* no storage for local files */ }
var asked = /[#&]theme=(dark|light)/.exec(location.hash);
root.dataset.theme = asked ? asked[1] : saved || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
$("theme").addEventListener("click", function () {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("buildnet-theme", root.dataset.theme); } catch (e) { /* not kept then */ }
  draw();
});

// ---- summary ----
var TIERS = ["instant", "cached", "incremental", "full", "failed", "skipped"];
var SAYS = {
  instant: "nothing had changed", cached: "restored from the cache", incremental: "ran on top of earlier state",
  full: "ran from nothing", failed: "command failed", skipped: "did not get their turn"
};
function summary() {
  document.title = "buildnet " + head.command + " · " + head.status;
  $("title").textContent = "buildnet " + head.command;
  $("status").textContent = head.status;
  $("status").className = head.status;
  $("subtitle").textContent = head.workspace + "  ·  " + data.started + "  ·  " + head.id;
  var counts = head.counts, hits = counts.instant + counts.cached, good = hits + counts.incremental + counts.full;
  var work = 0, cpu = 0, memory = 0;
  tasks.forEach(function (task) {
    work += task.duration; cpu += task.cpu;
    if (task.memory > memory) memory = task.memory;
  });
  function card(name, value, sub) {
    $("cards").appendChild(el("div", { "class": "card" }, el("div", { "class": "label" }, name),
      el("div", { "class": "value" }, value), el("div", { "class": "sub" }, sub)));
  }
  card("Wall time", ended ? time(head.duration_us) : "–", data.lanes ? "up to " + data.lanes + (data.lanes === 1 ? " task" : " tasks") + " at once" : ended ? "no task had to run" : "no end was told");
  card("Saved by caches", time(head.saved_us), "of command time");
  card("Hits", good ? Math.floor(100 * hits / good) + " %" : "–", hits + " of " + good + " tasks");
  card("Critical path", time(data.critical_us), head.duration_us && data.critical_us ? Math.min(100, Math.round(100 * data.critical_us / head.duration_us)) + " % of the wall time" : "");
  card("Parallelism", head.duration_us && work ? (work / head.duration_us).toFixed(1) + "×" : "–", cpu ? time(cpu) + " of CPU time" : "");
  if (memory) card("Peak memory", bytes(memory), "of one task");

  var stack = el("div", { "class": "stack" }), keys = el("div", { "class": "keys" });
  TIERS.forEach(function (tier) {
    if (!counts[tier]) return;
    stack.appendChild(el("i", { title: tier + ": " + counts[tier], style: { flexGrow: String(counts[tier]), background: "var(--" + tier + ")" } }));
    keys.appendChild(el("span", {}, dot(tier), el("b", {}, counts[tier] + " " + tier), " ", el("span", { "class": "note" }, SAYS[tier])));
  });
  if (!keys.firstChild) keys.appendChild(el("span", { "class": "note" }, head.status === "interrupted" ? "The process ended before it could tell of its tasks." : ended ? "There was nothing to do." : "The build is still running."));
  $("tiers").appendChild(stack);
  $("tiers").appendChild(keys);

  data.notices.forEach(function (notice) {
    $("notices").hidden = false;
    $("notices").appendChild(el("div", { "class": "notice " + notice.level }, prose(notice.text), notice.hint ? el("div", { "class": "hint" }, prose(notice.hint)) : null));
  });
  var shown = 0;
  tasks.forEach(function (task) {
    if (task.outcome !== "failed" || ++shown > 50) return;
    $("failures").hidden = false;
    $("failures").appendChild(el("div", { "class": "failure" },
      el("span", { "class": "name" }, task.name), el("span", { "class": "error" }, prose(task.error || "failed")),
      task.hint ? el("div", { "class": "hint" }, prose(task.hint)) : null,
      task.log ? el("pre", {}, task.log) : null,
      task.log_path ? el("div", { "class": "hint" }, "Whole log: ", el("code", {}, task.log_path)) : null));
  });
  $("footer").textContent = "Made by " + data.generator + ". This file needs no network and sends nothing.";
  if (data.instant.length) {
    $("instant-panel").hidden = false;
    $("instant-note").textContent = data.instant.length + (data.instant.length === 1 ? " task" : " tasks") + " for which nothing was read or run";
    data.instant.forEach(function (name) { $("instant").appendChild(el("span", {}, name)); });
  }
}

// ---- timeline ----
var canvas = document.querySelector("#timeline canvas"), context = canvas.getContext("2d");
var ROW = 24, AXIS = 26, GUTTER = 10;
var end = Math.max(1, head.duration_us, tasks.reduce(function (most, task) { return Math.max(most, task.finish); }, 0));
var view = { from: 0, to: end };
var hovered = -1, chosen = -1;
var byLane = [];
tasks.forEach(function (task, index) { (byLane[task.lane] = byLane[task.lane] || []).push(index); });
byLane.forEach(function (lane) { lane.sort(function (a, b) { return tasks[a].start - tasks[b].start; }); });

function width() { return canvas.clientWidth - 2 * GUTTER; }
function toX(us) { return GUTTER + (us - view.from) / (view.to - view.from) * width(); }
function toTime(x) { return view.from + (x - GUTTER) / width() * (view.to - view.from); }
function tick(span) {
  var step = 1, steps = [2, 2.5, 2], i = 0;
  while (span / step > 10) step *= steps[i++ % 3];
  return step;
}
function rounded(x, y, w, h, r) {
  r = Math.min(r, w / 2);
  context.beginPath();
  context.moveTo(x + r, y); context.arcTo(x + w, y, x + w, y + h, r); context.arcTo(x + w, y + h, x, y + h, r);
  context.arcTo(x, y + h, x, y, r); context.arcTo(x, y, x + w, y, r); context.closePath();
}
function draw() {
  if (!tasks.length) return;
  var ratio = window.devicePixelRatio || 1, lanes = Math.max(1, data.lanes), height = AXIS + lanes * ROW + 8;
  var across = canvas.parentNode.clientWidth;
  canvas.style.height = height + "px";
  canvas.width = Math.round(across * ratio); canvas.height = Math.round(height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, across, height);
  var colors = {};
  TIERS.concat(["ink", "dim", "line", "soft", "panel", "critical"]).forEach(function (name) { colors[name] = color(name); });
  context.font = "11.5px ui-sans-serif, system-ui, 'DejaVu Sans', sans-serif";
  context.textBaseline = "middle";
  var step = tick(view.to - view.from);
  for (var at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
    var x = Math.round(toX(at)) + 0.5;
    context.strokeStyle = colors.line; context.lineWidth = 1;
    context.beginPath(); context.moveTo(x, AXIS - 6); context.lineTo(x, height); context.stroke();
    context.fillStyle = colors.dim;
    var text = at === 0 ? "0" : time(at);
    if (step * width() / (view.to - view.from) < 60 && Math.round(at / step) % 2) continue;
    if (x + 4 + context.measureText(text).width < across) context.fillText(text, x + 4, 11);
  }
  var focus = hovered >= 0 ? hovered : chosen, related = null;
  if (focus >= 0) {
    related = {}; related[focus] = true;
    tasks[focus].needs.concat(neededBy[focus]).forEach(function (index) { related[index] = true; });
  }
  byLane.forEach(function (lane, row) {
    var y = AXIS + row * ROW + 2, h = ROW - 5, lastX = -1;
    lane.forEach(function (index) {
      var task = tasks[index];
      if (task.finish < view.from || task.start > view.to) return;
      var x = Math.max(toX(task.start), -20), w = Math.max(1.5, Math.min(toX(task.finish), across + 20) - x);
      // Of the many that fall on one pixel, one is enough, unless it stands out.
      if (w < 2 && Math.floor(x) === lastX && !critical[index] && task.outcome === "success") return;
      lastX = Math.floor(x);
      context.globalAlpha = related && !related[index] ? 0.28 : 1;
      context.fillStyle = colors[kind(task)];
      rounded(x, y, w, h, 4); context.fill();
      if (critical[index]) {
        context.strokeStyle = colors.critical; context.lineWidth = 2;
        rounded(x, y, w, h, 4); context.stroke();
      }
      var left = Math.max(x, 0);
      if (x + w - left > 34) {
        context.save(); context.beginPath(); context.rect(left, y, x + w - left - 4, h); context.clip();
        context.fillStyle = root.dataset.theme === "dark" || /skipped|incremental/.test(kind(task)) ? (root.dataset.theme === "dark" && kind(task) === "skipped" ? colors.ink : "#151412") : "#fff";
        context.fillText(task.name, left + 7, y + h / 2 + 0.5); context.restore();
      }
    });
  });
  context.globalAlpha = 1;
  if (focus >= 0) {
    tasks[focus].needs.forEach(function (index) { arrow(index, focus, colors.ink); });
    neededBy[focus].forEach(function (index) { arrow(focus, index, colors.ink); });
  } else {
    for (var i = 1; i < data.critical.length; i++) arrow(data.critical[i - 1], data.critical[i], colors.critical);
  }
}
function arrow(from, to, ink) {
  var a = tasks[from], b = tasks[to];
  var x1 = toX(a.finish), x2 = toX(b.start), y1 = AXIS + a.lane * ROW + ROW / 2, y2 = AXIS + b.lane * ROW + ROW / 2;
  if (Math.max(x1, x2) < 0 || Math.min(x1, x2) > canvas.clientWidth) return;
  var bend = Math.max(6, Math.min(40, Math.abs(x2 - x1) / 2));
  context.strokeStyle = ink; context.lineWidth = 1.3;
  context.beginPath(); context.moveTo(x1, y1); context.bezierCurveTo(x1 + bend, y1, x2 - bend, y2, x2, y2); context.stroke();
}
function hit(event) {
  var box = canvas.getBoundingClientRect(), x = event.clientX - box.left, row = Math.floor((event.clientY - box.top - AXIS) / ROW);
  var lane = byLane[row] || [], best = -1, distance = 4;
  lane.forEach(function (index) {
    var a = toX(tasks[index].start), b = Math.max(a + 2, toX(tasks[index].finish));
    var off = x < a ? a - x : x > b ? x - b : 0;
    if (off < distance) { distance = off; best = index; }
  });
  return best;
}
function zoom(factor, around) {
  var span = Math.min(end, Math.max(50, (view.to - view.from) * factor));
  var part = (around - view.from) / (view.to - view.from);
  move(around - part * span, span);
}
function move(from, span) {
  view.from = Math.max(0, Math.min(end - span, from));
  view.to = view.from + span;
  draw();
}
function tip(event, index) {
  var box = $("tip");
  if (index < 0) { box.hidden = true; return; }
  var task = tasks[index];
  clear(box).appendChild(el("b", {}, task.name));
  box.appendChild(el("div", {}, time(task.duration) + " · " + label(task) + (critical[index] ? " · on the critical path" : "") + (task.memory ? " · " + bytes(task.memory) : "")));
  if (task.why) box.appendChild(el("div", {}, "Why: " + task.why));
  if (task.error) box.appendChild(el("div", {}, task.error));
  box.hidden = false;
  box.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8)) + "px";
  box.style.top = Math.max(4, event.clientY + 18 + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 10 : event.clientY + 18) + "px";
}
function timeline() {
  if (!tasks.length) { $("timeline-panel").hidden = true; $("critical-panel").hidden = true; return; }
  $("timeline-note").textContent = "Drag to move, Ctrl + wheel or + and − to zoom, click a task for its details";
  [["cached", "cached"], ["incremental", "incremental"], ["full", "full"], ["failed", "failed"], ["skipped", "skipped"]].forEach(function (pair) {
    if (tasks.some(function (task) { return kind(task) === pair[0]; })) $("legend").appendChild(el("span", {}, dot(pair[0]), pair[1]));
  });
  $("legend").appendChild(el("span", {}, el("span", { "class": "dot", style: { border: "2px solid var(--critical)" } }), "critical path"));
  canvas.addEventListener("wheel", function (event) {
    var box = canvas.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey) { event.preventDefault(); zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, toTime(event.clientX - box.left)); }
    else if (event.deltaX) { event.preventDefault(); move(view.from + event.deltaX / width() * (view.to - view.from), view.to - view.from); }
  }, { passive: false });
  var grip = null;
  canvas.addEventListener("pointerdown", function (event) { grip = { x: event.clientX, from: view.from, moved: false }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", function (event) {
    if (grip) {
      if (Math.abs(event.clientX - grip.x) > 3) { grip.moved = true; canvas.classList.add("drag"); tip(event, -1); }
      if (grip.moved) move(grip.from - (event.clientX - grip.x) / width() * (view.to - view.from), view.to - view.from);
      return;
    }
    var index = hit(event);
    if (index !== hovered) { hovered = index; draw(); }
    tip(event, index);
  });
  canvas.addEventListener("pointerup", function (event) {
    var moved = grip && grip.moved;
    grip = null; canvas.classList.remove("drag");
    if (!moved) { var index = hit(event); if (index >= 0) reveal(index); }
  });
  canvas.addEventListener("pointerleave", function (event) { hovered = -1; tip(event, -1); draw(); });
  canvas.addEventListener("keydown", function (event) {
    var span = view.to - view.from, middle = view.from + span / 2;
    if (event.key === "+" || event.key === "=") zoom(1 / 1.5, middle);
    else if (event.key === "-") zoom(1.5, middle);
    else if (event.key === "ArrowLeft") move(view.from - span / 5, span);
    else if (event.key === "ArrowRight") move(view.from + span / 5, span);
    else if (event.key === "0") move(0, end);
    else return;
    event.preventDefault();
  });
  $("zoom-in").addEventListener("click", function () { zoom(1 / 1.6, (view.from + view.to) / 2); });
  $("zoom-out").addEventListener("click", function () { zoom(1.6, (view.from + view.to) / 2); });
  $("zoom-all").addEventListener("click", function () { move(0, end); });
  window.addEventListener("resize", draw);
  draw();
}

// ---- critical path ----
var LISTED = 25;
function path() {
  var shown = data.critical;
  if (shown.length > LISTED) {
    // Of a long path the longest tasks, in the order of running.
    var least = shown.map(function (index) { return tasks[index].duration; }).sort(function (a, b) { return b - a; })[LISTED - 1];
    shown = shown.filter(function (index) { return tasks[index].duration >= least; }).slice(0, LISTED);
    var all = el("button", { type: "button", click: function () { LISTED = Infinity; clear($("critical")); path(); } }, "Show all " + data.critical.length + " tasks, not only the longest");
  }
  $("critical-note").textContent = data.critical.length + (data.critical.length === 1 ? " task, " : " tasks, ") + time(data.critical_us) + ": more cores would not make it shorter";
  var most = data.critical.reduce(function (most, index) { return Math.max(most, tasks[index].duration); }, 1);
  shown.forEach(function (index) {
    var task = tasks[index];
    $("critical").appendChild(el("div", { "class": "step", title: task.why || "", click: function () { reveal(index); } },
      el("span", { "class": "name" }, task.name),
      el("span", { "class": "track" }, el("i", { style: { width: 100 * task.duration / most + "%" } })),
      el("span", { "class": "time" }, time(task.duration))));
  });
  if (all) $("critical").appendChild(el("div", {}, all));
}

// ---- table ----
var COLUMNS = [
  { name: "Task", of: function (t) { return t.name; } },
  { name: "Tier", of: function (t) { return label(t); } },
  { name: "Time", num: true, of: function (t) { return t.duration; } },
  { name: "Start", num: true, of: function (t) { return t.start; } },
  { name: "CPU", num: true, of: function (t) { return t.cpu; } },
  { name: "Memory", num: true, of: function (t) { return t.memory; } },
  { name: "Why it ran", of: function (t) { return t.why || ""; } }
];
var order = { column: 2, down: true }, filter = "", only = null, limit = PAGE_ROWS, open = {};
var haystack = tasks.map(function (task) {
  return [task.name, label(task), task.why || "", task.error || "", task.changes.join(" ")].join(" ").toLowerCase();
});
function matching() {
  var words = filter.toLowerCase().split(/\s+/).filter(Boolean), of = COLUMNS[order.column].of, sign = order.down ? -1 : 1;
  return tasks.map(function (_, index) { return index; }).filter(function (index) {
    if (only === "critical" ? !critical[index] : only && kind(tasks[index]) !== only) return false;
    return words.every(function (word) { return haystack[index].indexOf(word) >= 0; });
  }).sort(function (a, b) {
    var x = of(tasks[a]), y = of(tasks[b]);
    return sign * (x < y ? -1 : x > y ? 1 : 0) || a - b;
  });
}
function links(indices, names) {
  var cell = el("dd", {});
  indices.slice(0, 60).forEach(function (index) {
    cell.appendChild(el("button", { type: "button", "class": "link name", click: function () { reveal(index); } }, tasks[index].name));
  });
  if (indices.length > 60) cell.appendChild(el("span", { "class": "note" }, "and " + (indices.length - 60) + " more "));
  (names || []).slice(0, 60).forEach(function (name) { cell.appendChild(el("span", { "class": "name note" }, name + "  ")); });
  return cell;
}
function details(index) {
  var task = tasks[index], list = el("dl", {});
  function row(name, value) {
    if (value === null || value === undefined || value === "") return;
    list.appendChild(el("dt", {}, name));
    list.appendChild(value.tagName === "DD" ? value : el("dd", {}, value));
  }
  if (task.changes.length) {
    var changes = el("ul", {});
    task.changes.forEach(function (change) { changes.appendChild(el("li", {}, change)); });
    if (task.more) changes.appendChild(el("li", {}, "and " + task.more + " more"));
    row("Changed", changes);
  } else row("Why", task.why);
  row("Command", task.execution ? time(task.execution) + (task.tier === "cached" ? ", when it ran" : "") + (task.attempts > 1 ? ", " + task.attempts + " attempts" : "") : null);
  row("Waited", task.waited >= 1000 ? time(task.waited) + " for its turn" : null);
  row("Key", task.key ? el("code", {}, task.key) : null);
  row("Needed", task.needs.length || task.needs_instant.length ? links(task.needs, task.needs_instant) : null);
  row("Needed by", neededBy[index].length ? links(neededBy[index]) : null);
  row("Exit code", task.exit_code);
  row("Error", task.error && prose(task.error));
  row("Hint", task.hint && prose(task.hint));
  row("Log", task.log_path ? el("code", {}, task.log_path) : null);
  var cell = el("td", { colspan: COLUMNS.length }, list, task.log ? el("pre", {}, task.log) : null);
  return el("tr", { "class": "detail" }, cell);
}
function table() {
  var header = el("tr", {});
  COLUMNS.forEach(function (column, index) {
    var sorted = order.column === index;
    header.appendChild(el("th", { "class": column.num ? "num" : "", "aria-sort": sorted ? (order.down ? "descending" : "ascending") : "none", click: function () {
      order = { column: index, down: order.column === index ? !order.down : !!column.num };
      table();
    } }, column.name + (sorted ? (order.down ? " ↓" : " ↑") : "")));
  });
  clear(document.querySelector("#tasks thead")).appendChild(header);
  var body = clear(document.querySelector("#tasks tbody")), found = matching();
  found.slice(0, limit).forEach(function (index) {
    var task = tasks[index];
    body.appendChild(el("tr", { "class": "task", id: "task-" + index, click: function () {
      open[index] = !open[index]; chosen = open[index] ? index : -1; table(); draw();
    } },
      el("td", {}, el("span", { "class": "name" }, task.name), critical[index] ? el("span", { "class": "crit" }, "critical") : null),
      el("td", { "class": "tier" }, dot(kind(task)), label(task)),
      el("td", { "class": "num" }, time(task.duration)), el("td", { "class": "num" }, time(task.start)),
      el("td", { "class": "num" }, task.cpu ? time(task.cpu) : ""), el("td", { "class": "num" }, bytes(task.memory)),
      el("td", { "class": "why" }, task.why || "")));
    if (open[index]) body.appendChild(details(index));
  });
  if (!found.length) body.appendChild(el("tr", {}, el("td", { colspan: COLUMNS.length, "class": "empty" }, tasks.length ? "No task matches." : ended ? "No task had to run." : "Tasks are kept when a build ends; this one did not.")));
  $("tasks-note").textContent = found.length === tasks.length ? tasks.length + " that were not instant" : found.length + " of " + tasks.length;
  $("more").hidden = found.length <= limit;
  $("more").textContent = "Show " + Math.min(PAGE_ROWS, found.length - limit) + " more of " + found.length;
}
function chips() {
  var box = clear($("filters"));
  function chip(name, text) {
    box.appendChild(el("button", { type: "button", "class": "chip", "aria-pressed": String(only === name), click: function () {
      only = only === name ? null : name; limit = PAGE_ROWS; chips(); table();
    } }, text));
  }
  var counts = {};
  tasks.forEach(function (task) { counts[kind(task)] = (counts[kind(task)] || 0) + 1; });
  chip(null, "all " + tasks.length);
  TIERS.forEach(function (tier) { if (counts[tier]) chip(tier, tier + " " + counts[tier]); });
  if (data.critical.length) chip("critical", "critical path " + data.critical.length);
}
function reveal(index) {
  if (matching().indexOf(index) < 0) { filter = ""; $("search").value = ""; only = null; chips(); }
  limit = Math.max(limit, matching().indexOf(index) + 1);
  open[index] = true; chosen = index;
  table(); draw();
  $("task-" + index).scrollIntoView({ block: "center", behavior: "smooth" });
}

summary();
timeline();
path();
$("search").addEventListener("input", function () { filter = this.value; limit = PAGE_ROWS; table(); });
$("more").addEventListener("click", function () { limit += PAGE_ROWS; table(); });
chips();
table();
})();
