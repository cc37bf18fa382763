// What an attempt printed: read on while it runs, searched.
import { ask, make, whenever } from "./page.js";

/** What is kept of a very long output: its end. */
const LINES_MAX = 20000;

function begin(log) {
  const pre = log.querySelector("pre");
  const search = log.querySelector("input");
  const found = log.querySelector("[data-found]");
  let next = 0;
  let busy = false;
  let complete = false;
  let rest = "";
  let said = false;

  const show = (text) => {
    const atEnd = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 30;
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) pre.append(make("code", {}, `${line}\n`));
    while (pre.childElementCount > LINES_MAX) pre.firstElementChild.remove();
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  };
  const read = async () => {
    if (busy || complete || !log.isConnected) return;
    busy = true;
    try {
      for (;;) {
        const piece = await ask(`${log.dataset.log}?from=${next}`);
        const more = piece.next > next;
        next = piece.next;
        if (piece.text) {
          said = true;
          show(piece.text);
        }
        if (piece.complete) {
          complete = true;
          if (rest) show("\n");
          if (!said) pre.replaceChildren(make("span", { class: "none" }, "It printed nothing."));
        }
        if (!more || complete) break;
      }
    } catch (error) {
      found.textContent = error.message;
    }
    busy = false;
    mark();
  };
  const mark = () => {
    const wanted = search.value.toLowerCase();
    let count = 0;
    for (const line of pre.querySelectorAll("code")) {
      const hit = wanted !== "" && line.textContent.toLowerCase().includes(wanted);
      line.classList.toggle("hit", hit);
      if (hit) count += 1;
    }
    found.textContent = wanted ? `${count} line${count === 1 ? "" : "s"}` : "";
  };
  search.addEventListener("input", () => {
    mark();
    pre.querySelector(".hit")?.scrollIntoView({ block: "nearest" });
  });
  read();
  whenever(read);
  const timer = setInterval(() => {
    if (complete || !log.isConnected) clearInterval(timer);
    else if (!document.hidden) read();
  }, 2000);
}

// A page that follows the newest attempt has another output when there is another one.
function beginAll() {
  for (const log of document.querySelectorAll("[data-log]:not([data-begun])")) {
    log.dataset.begun = "";
    begin(log);
  }
}
beginAll();
document.addEventListener("fresh", beginAll);
