// The form for a backfill: shows what each date would do, and begins it.
import { begin, counted, params } from "./form.js";
import { ask, make, tell } from "./page.js";

const form = document.getElementById("backfill");
const address = `${form.dataset.pipeline}/backfills`;
const SHOWN = 40;

function wanted() {
  const text = (name) => form.elements[name].value.trim();
  const most = text("max_active");
  return {
    from: text("from"), to: text("to"), reprocess: text("reprocess"), params: params(form),
    ...(most ? { max_active: Number(most) } : {}), ...(text("reason") ? { reason: text("reason") } : {}),
  };
}

async function foresee() {
  const body = wanted();
  if (!body.from || !body.to) return null;
  const plan = await ask(address, { ...body, dry_run: true });
  const rows = plan.dates.slice(0, SHOWN).map((date) => make("li", {}, `${date.run}  ${date.what}`));
  const more = plan.dates.length - rows.length;
  return [
    make("p", {}, make("strong", {}, counted(plan.dates.length, "date"))),
    ...plan.warnings.map((warning) => make("p", { class: "warned" }, warning)),
    make("ul", { class: "changes" }, ...rows, ...(more > 0 ? [make("li", {}, `and ${more} more`)] : [])),
  ];
}

begin(form, document.getElementById("preview"), foresee, async () => {
  const made = await ask(address, wanted());
  if (made.id) location.assign(`/backfills/${made.id}`);
  else tell("No date would run.");
});
