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
  boxes.forEach((box, index) => {
    box.addEventListener("click", () => choose(box.dataset.key, box.getAttribute("aria-label")));
    box.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = boxes[(index + step + boxes.length) % boxes.length];
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
