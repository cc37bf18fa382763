// The form for a run: shows what the run would be, with its exact requests, and makes it.
import { begin, params } from "./form.js";
import { ask, make } from "./page.js";

const form = document.getElementById("start");
const requests = document.getElementById("requests");
const base = form.dataset.pipeline;
const page = (run) => `/runs/${encodeURIComponent(run)}`;

function wanted() {
  const date = form.elements.date.value.trim();
  return { ...(date ? { date } : {}), params: params(form) };
}

const request = (task) => make("section", {},
  make("h3", {}, task.task, " ", make("span", { class: "none" }, task.type)),
  make("pre", { tabindex: "0" }, task.request ? JSON.stringify(task.request, null, 2) : task.note ?? ""));

async function foresee() {
  const body = wanted();
  const [made, plan] = await Promise.all([ask(`${base}/runs`, { ...body, dry_run: true }), ask(`${base}/plan`, body)]);
  requests.hidden = false;
  requests.querySelector("div").replaceChildren(...plan.tasks.map(request));
  const there = made.detail && make("p", { class: "warned" }, "There is such a run already: ",
    make("a", { href: page(made.run) }, `${made.run}, ${made.detail.state}`), ". Clear it to run it again.");
  return [
    make("p", {}, make("strong", {}, made.run), " ", make("span", {}, made.covers)),
    ...(made.warning ? [make("p", { class: "warned" }, made.warning)] : []),
    ...(there ? [there] : []),
  ];
}

begin(form, document.getElementById("preview"), foresee, async () => {
  const made = await ask(`${base}/runs`, wanted());
  location.assign(page(made.run));
});
