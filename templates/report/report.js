"use strict";
(() => {
  const all = (selector, top = document) => [...top.querySelectorAll(selector)];
  const detail = document.getElementById("detail");
  const boxes = all(".box");
  const choose = (key, text) => {
    boxes.forEach((box) => box.setAttribute("aria-pressed", box.dataset.key === key));
    all("tr[data-key]").forEach((row) => row.classList.toggle("chosen", row.dataset.key === key));
    if (detail) detail.textContent = text;
  };
  const sides = boxes.map(({ style }) => {
    const [x, y, width, height] = [style.left, style.top, style.width, style.height].map(parseFloat);
    return [x, y, x + width, y + height];
  });
  const steps = { ArrowRight: [0, 1], ArrowDown: [1, 1], ArrowLeft: [0, -1], ArrowUp: [1, -1] };
  // The boxes fill the map but for rounding, so one of them touches the middle of this side, unless it is an edge.
  const neighbour = (from, [along, sign]) => {
    const across = 1 - along;
    const middle = (from[across] + from[across + 2]) / 2;
    const gap = (to) => (sign > 0 ? to[along] - from[along + 2] : from[along] - to[along + 2]);
    const ahead = sides.filter((to) => to !== from && gap(to) > -0.002
      && to[across] < middle + 0.001 && to[across + 2] > middle - 0.001);
    return boxes[sides.indexOf(ahead.sort((one, two) => gap(one) - gap(two))[0])];
  };
  boxes.forEach((box, index) => {
    box.addEventListener("click", () => choose(box.dataset.key, box.getAttribute("aria-label")));
    box.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      const next = neighbour(sides[index], step);
      if (!next) return;
      box.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
      choose(next.dataset.key, next.getAttribute("aria-label"));
    });
  });
  all("input[type=search]").forEach((input) => {
    const rows = all(`#${input.dataset.table} tbody tr`);
    const count = document.getElementById(`${input.dataset.table}-count`);
    const search = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row) => {
        row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
        shown += row.hidden ? 0 : 1;
      });
      count.textContent = `${shown} of ${rows.length}`;
    };
    input.addEventListener("input", search);
    search();
  });
  all("th button").forEach((button) => button.addEventListener("click", () => {
    const head = button.parentElement;
    const body = head.closest("table").tBodies[0];
    const index = [...head.parentElement.children].indexOf(head);
    const number = head.classList.contains("n");
    const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : number;
    all("th", head.parentElement).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.children[index].dataset.v ?? row.children[index].textContent;
    const sorted = [...body.rows].sort((a, b) =>
      number ? Number(value(a) || -1) - Number(value(b) || -1) : value(a).localeCompare(value(b)));
    if (down) sorted.reverse();
    body.append(...sorted);
  }));
})();
