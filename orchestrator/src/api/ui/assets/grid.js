// The grid: tasks by runs. Only what can be seen is in the page; rows are used again while it scrolls.
import { ask, confirmed, make, tell, whenever } from "./page.js";

const ROW = 24;
const SPARE = 6;
const HEAD = 83;
const box = document.getElementById("grid");
const filter = document.getElementById("grid-filter");
const mayChange = box.dataset.mayChange === "true";
const words = {
  s: "succeeded", f: "failed", r: "running", t: "retrying", q: "queued", w: "waiting",
  a: "awaiting_approval", k: "skipped", u: "upstream_failed", c: "cancelled",
};
const signs = {};
const spoken = {};
for (const part of box.dataset.signs.split(",")) {
  signs[part[0]] = part[1];
  spoken[part[0]] = part.slice(2);
}

let grid = null; // what the server said, the oldest run first
let marks = []; // of each run, by place of the task
let shown = []; // places of the tasks that the filter lets through
let pool = [];
let top = null;
let body = null;
let from = -1;
const at = { row: 0, column: 0 };
let anchor = null;

function label(run, task) {
  const letter = run.states[task];
  const mark = marks[grid.runs.indexOf(run)].get(task);
  const parts = [`${grid.tasks[task].task}, ${run.run_key}: ${spoken[letter] ?? "not in this version"}`];
  if (mark?.attempts > 1) parts.push(`${mark.attempts} attempts`);
  if (mark?.warned) parts.push("warned");
  if (mark?.unconfirmed) parts.push("start unconfirmed");
  return parts.join(", ");
}

/** The date of a run as its column shows it: the day, and the month where it changes. A run by an event or a request is
    told by when it was made. */
function heading(run, before) {
  const form = /^(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):?(\d{2}))?/;
  const date = form.exec(run.run_key) ?? form.exec(run.logical_date);
  if (!date) return [run.run_key.slice(0, 4), ""];
  const [, , month, day, hour, minute] = date;
  const small = hour ? `${hour}:${minute}` : day;
  const large = hour ? `${month}-${day}` : month;
  const same = before && heading(before)[1] === large;
  return [small, same ? "" : large];
}

function columns() {
  const longest = Math.max(1, ...grid.runs.map(seconds));
  const name = make("div", { class: "grid-name", role: "columnheader" }, `${shown.length} tasks`);
  const runs = grid.runs.map((run, index) => {
    const before = grid.runs[index - 1];
    const [small, large] = heading(run, before);
    const marked = [run.trigger === "backfill" ? "b" : run.trigger === "manual" ? "m" : "", before && before.version !== run.version ? "v" : ""].join("");
    const bar = make("span", { class: "bar-of", "data-state": run.state });
    bar.style.height = `${Math.round((seconds(run) / longest) * 18)}px`;
    const letter = Object.keys(words).find((key) => words[key] === run.state) ?? "w";
    return make("div", { role: "columnheader" },
      make("a", { class: "grid-run", href: `/runs/${encodeURIComponent(run.run)}`, "data-state": run.state,
        title: `${run.run}: ${run.state}${run.generation > 1 ? `, generation ${run.generation}` : ""}, by ${run.trigger}, v${run.version}`,
        "aria-label": `${run.run_key}: ${run.state}` },
        bar, make("i", { "aria-hidden": true }, signs[letter] ?? "·"), make("span", {}, large), make("span", {}, small), make("b", {}, marked)));
  });
  return [name, ...runs];
}

function seconds(run) {
  if (!run.started_at) return 0;
  return ((run.ended_at ? Date.parse(run.ended_at) : Date.now()) - Date.parse(run.started_at)) / 1000;
}

function newRow() {
  const name = make("div", { class: "grid-name", role: "rowheader" });
  const cells = grid.runs.map((_, column) => make("div", { class: "grid-cell", role: "gridcell", tabindex: "-1", "data-column": column }));
  const row = make("div", { class: "grid-row", role: "row" }, name, ...cells);
  return { row, name, cells, index: -1 };
}

function selected(index, column) {
  if (!anchor) return false;
  const inside = (value, a, b) => value >= Math.min(a, b) && value <= Math.max(a, b);
  return inside(index, anchor.row, at.row) && inside(column, anchor.column, at.column);
}

function fill(line, index) {
  const task = shown[index];
  line.index = index;
  line.row.style.transform = `translateY(${index * ROW}px)`;
  line.row.setAttribute("aria-rowindex", index + 2);
  line.name.textContent = grid.tasks[task].task;
  line.name.title = `${grid.tasks[task].task}  ${grid.tasks[task].type || "not in the current version"}`;
  for (let column = 0; column < line.cells.length; column += 1) {
    const cell = line.cells[column];
    const letter = grid.runs[column].states[task];
    const mark = marks[column].get(task);
    const state = words[letter] ?? "";
    if (cell.dataset.state !== state) {
      cell.dataset.state = state;
      cell.textContent = signs[letter] ?? "";
    }
    const corner = mark ? (mark.unconfirmed ? "?" : mark.warned ? "w" : mark.attempts > 1 ? String(Math.min(mark.attempts, 99)) : "") : "";
    if (corner) cell.dataset.mark = corner;
    else if (cell.dataset.mark) delete cell.dataset.mark;
    cell.tabIndex = index === at.row && column === at.column ? 0 : -1;
    const chosen = anchor !== null && selected(index, column);
    if (chosen) cell.setAttribute("aria-selected", "true");
    else if (cell.hasAttribute("aria-selected")) cell.removeAttribute("aria-selected");
    cell.setAttribute("aria-label", label(grid.runs[column], task));
  }
}

function draw(all = false) {
  const first = Math.max(0, Math.floor(box.scrollTop / ROW) - SPARE);
  if (first === from && !all) return;
  from = first;
  const free = new Map();
  for (const line of pool) free.set(line.index, line);
  const wanted = [];
  for (let index = first; index < Math.min(shown.length, first + pool.length); index += 1) wanted.push(index);
  const lines = new Map();
  for (const index of wanted) {
    const line = free.get(index);
    if (line) {
      lines.set(index, line);
      free.delete(index);
      if (all) fill(line, index);
    }
  }
  const spare = pool.filter((line) => ![...lines.values()].includes(line));
  for (const index of wanted) {
    if (lines.has(index)) continue;
    const line = spare.pop();
    line.row.hidden = false;
    fill(line, index);
  }
  for (const line of spare) {
    line.row.hidden = true;
    line.index = -1;
  }
}

function build() {
  const wanted = filter.value.trim().toLowerCase();
  shown = grid.tasks.map((_, place) => place).filter((place) => grid.tasks[place].task.toLowerCase().includes(wanted));
  at.row = Math.min(at.row, Math.max(0, shown.length - 1));
  at.column = Math.min(at.column, Math.max(0, grid.runs.length - 1));
  const height = HEAD + shown.length * ROW + 18;
  box.style.height = `${Math.min(height, innerHeight * 0.72)}px`;
  top = make("div", { class: "grid-top", role: "row", "aria-rowindex": "1" }, ...columns());
  body = make("div", { class: "grid-body" });
  body.style.height = `${shown.length * ROW}px`;
  const visible = Math.ceil(Math.min(height, innerHeight * 0.72) / ROW) + 2 * SPARE;
  pool = Array.from({ length: Math.min(visible, shown.length) }, newRow);
  body.append(...pool.map((line) => line.row));
  const scroll = [box.scrollLeft, box.scrollTop];
  const held = box.contains(document.activeElement) && document.activeElement.matches(".grid-cell");
  const inner = make("div", { role: "grid", "aria-label": `Tasks of ${grid.pipeline} by runs`, "aria-rowcount": shown.length + 1, "aria-colcount": grid.runs.length + 1, "aria-multiselectable": "true" }, top, body);
  inner.style.width = "max-content";
  inner.style.minWidth = "100%";
  box.replaceChildren(inner);
  [box.scrollLeft, box.scrollTop] = scroll;
  from = -1;
  draw(true);
  if (held) focus(false);
}

function focus(scroll = true) {
  if (scroll) {
    const y = at.row * ROW;
    const room = box.clientHeight - HEAD;
    if (y < box.scrollTop) box.scrollTop = y;
    else if (y + ROW > box.scrollTop + room) box.scrollTop = y + ROW - room;
  }
  draw(true);
  const line = pool.find((one) => one.index === at.row);
  line?.cells[at.column]?.focus({ preventScroll: true });
  line?.cells[at.column]?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function place(cell) {
  const line = pool.find((one) => one.row === cell.parentElement);
  return { row: line.index, column: Number(cell.dataset.column) };
}

function open() {
  const run = grid.runs[at.column];
  const task = shown[at.row];
  if (!words[run.states[task]]) return;
  location.assign(`/runs/${encodeURIComponent(run.run)}/tasks/${encodeURIComponent(grid.tasks[task].task)}`);
}

async function clear() {
  if (!mayChange) return tell("Your token may look, and changes no runs.", true);
  const [a, b] = [anchor ?? at, at];
  const steps = [];
  let count = 0;
  for (let column = Math.min(a.column, b.column); column <= Math.max(a.column, b.column); column += 1) {
    const run = grid.runs[column];
    const tasks = [];
    for (let row = Math.min(a.row, b.row); row <= Math.max(a.row, b.row); row += 1) {
      if (words[run.states[shown[row]]]) tasks.push(grid.tasks[shown[row]].task);
    }
    count += tasks.length;
    if (tasks.length) steps.push({ path: `/api/v1/runs/${encodeURIComponent(run.run)}/clear`, body: { tasks, downstream: true } });
  }
  if (steps.length && await confirmed(`Run ${count} task${count === 1 ? "" : "s"} of ${steps.length} run${steps.length === 1 ? "" : "s"} and what follows again`, steps)) {
    anchor = null;
    load();
  }
}

box.addEventListener("scroll", () => requestAnimationFrame(() => grid && draw()), { passive: true });
box.addEventListener("click", (event) => {
  const cell = event.target.closest(".grid-cell");
  if (!cell) return;
  const to = place(cell);
  if (event.shiftKey) anchor ??= { ...at };
  else anchor = null;
  const again = to.row === at.row && to.column === at.column && !event.shiftKey && document.activeElement === cell;
  Object.assign(at, to);
  if (!event.shiftKey && (again || event.detail > 0) && cell.dataset.state) return open();
  focus(false);
});
box.addEventListener("mouseover", (event) => {
  const cell = event.target.closest(".grid-cell");
  if (cell?.dataset.state) cell.title = cell.getAttribute("aria-label");
});
box.addEventListener("keydown", (event) => {
  if (!grid || !event.target.matches(".grid-cell")) return;
  const moves = {
    ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
    PageUp: [-10, 0], PageDown: [10, 0], Home: [0, -1e6], End: [0, 1e6],
  };
  const move = moves[event.key];
  if (move) {
    event.preventDefault();
    if (event.shiftKey) anchor ??= { ...at };
    else anchor = null;
    at.row = Math.min(shown.length - 1, Math.max(0, at.row + move[0]));
    at.column = Math.min(grid.runs.length - 1, Math.max(0, at.column + move[1]));
    focus();
  } else if (event.key === "Enter") open();
  else if (event.key === "c" || event.key === "C") clear();
  else if (event.key === "Escape") {
    anchor = null;
    focus();
  }
});
filter.addEventListener("input", () => {
  if (!grid) return;
  anchor = null;
  build();
});

let loading = false;
async function load() {
  if (loading) return;
  loading = true;
  try {
    const first = grid === null;
    const said = await ask(`${box.dataset.source}?limit=50`);
    said.runs.reverse();
    const same = !first && said.tasks.length === grid.tasks.length && said.runs.length === grid.runs.length && said.runs.every((run, index) => run.id === grid.runs[index].id);
    grid = said;
    marks = grid.runs.map((run) => new Map(run.marks.map((mark) => [mark.task, mark])));
    if (!grid.runs.length) {
      box.replaceChildren(make("p", { class: "muted" }, "No runs yet."));
      return;
    }
    if (first) at.column = grid.runs.length - 1;
    if (same) {
      top.replaceChildren(...columns());
      draw(true);
    } else build();
    if (first) box.scrollLeft = box.scrollWidth;
  } catch (error) {
    if (grid === null) box.replaceChildren(make("p", { class: "wrong", role: "alert" }, error.message));
    else tell(error.message, true);
  } finally {
    loading = false;
  }
}

addEventListener("resize", () => grid?.runs.length && build());
whenever(load);
load();
