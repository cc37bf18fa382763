// Moves and enlarges graphs. The picture itself is the server's.

function begin(board) {
  if (board.dataset.begun) return;
  board.dataset.begun = "1";
  const view = { x: 0, y: 0, zoom: 1 };
  const draw = () => {
    const svg = board.querySelector("svg");
    if (svg) svg.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
  };
  const zoom = (by, x, y) => {
    const next = Math.min(3, Math.max(0.1, view.zoom * by));
    view.x = x - ((x - view.x) * next) / view.zoom;
    view.y = y - ((y - view.y) * next) / view.zoom;
    view.zoom = next;
    draw();
  };
  const fit = () => {
    const svg = board.querySelector("svg");
    if (!svg) return;
    const { width, height } = svg.viewBox.baseVal;
    view.zoom = Math.min(1, board.clientWidth / width, Math.max(board.clientHeight, 120) / height);
    // Smaller than this nobody reads it: it is moved instead.
    view.zoom = Math.max(view.zoom, board.clientWidth < 720 ? 0.75 : 0.35);
    view.x = Math.max(0, (board.clientWidth - width * view.zoom) / 2);
    view.y = Math.max(0, (board.clientHeight - height * view.zoom) / 2);
    draw();
  };
  board.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = board.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  let held = null;
  board.addEventListener("pointerdown", (event) => {
    if (event.button === 0) held = { x: event.clientX - view.x, y: event.clientY - view.y, from: [event.clientX, event.clientY], moved: false };
  });
  board.addEventListener("pointermove", (event) => {
    if (!held) return;
    if (Math.hypot(event.clientX - held.from[0], event.clientY - held.from[1]) > 4 && !held.moved) {
      held.moved = true;
      board.setPointerCapture(event.pointerId);
    }
    if (!held.moved) return;
    view.x = event.clientX - held.x;
    view.y = event.clientY - held.y;
    draw();
  });
  const release = () => setTimeout(() => (held = null));
  board.addEventListener("pointerup", release);
  board.addEventListener("pointercancel", release);
  board.addEventListener("click", (event) => {
    if (held?.moved) event.preventDefault();
  }, true);
  board.addEventListener("dragstart", (event) => event.preventDefault());
  board.addEventListener("keydown", (event) => {
    const middle = [board.clientWidth / 2, board.clientHeight / 2];
    const moves = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
    if (moves[event.key]) {
      view.x += moves[event.key][0];
      view.y += moves[event.key][1];
      draw();
    } else if (event.key === "+" || event.key === "=") zoom(1.25, ...middle);
    else if (event.key === "-") zoom(0.8, ...middle);
    else if (event.key === "0") fit();
    else return;
    event.preventDefault();
  });
  board.redraw = draw;
  fit();
}

for (const board of document.querySelectorAll("[data-board]")) begin(board);
// A fresh picture comes with a board of its own; what the reader chose stays.
document.addEventListener("fresh", (event) => {
  for (const board of event.target.querySelectorAll("[data-board]")) begin(board);
});
