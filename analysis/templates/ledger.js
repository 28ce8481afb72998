"use strict";
// The page reads without this script; here are search, sorting, filters, and opening what a link points to.
document.documentElement.classList.add("js");
const table = document.getElementById("ledger");
const parts = [...table.tBodies];
const search = document.getElementById("search");
const selects = [...document.querySelectorAll("select[data-key]")];
const shown = document.getElementById("shown");
const text = new Map(parts.map((part) => [part, part.textContent.toLowerCase()]));

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const part of parts) {
    const fits =
      words.every((word) => text.get(part).includes(word)) &&
      selects.every((select) => !select.value || part.dataset[select.dataset.key] === select.value);
    part.hidden = !fits;
    count += fits;
  }
  shown.textContent = `${count} of ${parts.length} rows`;
}

// A cell's own text, or the number in data-sort; rows without a number come last either way.
function value(part, column) {
  const cell = part.rows[0].cells[column];
  return "sort" in cell.dataset ? parseFloat(cell.dataset.sort) : cell.textContent.trim().toLowerCase();
}

function compare(a, b, sign) {
  if (typeof a === "string") return sign * a.localeCompare(b, "en", { numeric: true });
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
  return sign * (a - b);
}

function sort(head) {
  const column = head.cellIndex;
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  parts.sort((a, b) => compare(value(a, column), value(b, column), sign));
  table.append(...parts);
}

// A link may point into folded parts, or at a row that a filter hides.
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.closest("tbody")?.hidden) reset();
  target.querySelector("details")?.setAttribute("open", "");
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  target.scrollIntoView();
}

function reset() {
  search.value = "";
  for (const select of selects) select.value = "";
  filter();
}

// Printed: the evidence of the rows that are shown. Runs stay folded, they would be hundreds of pages.
let folded = [];
addEventListener("beforeprint", () => {
  folded = parts.filter((part) => !part.hidden).map((part) => part.querySelector("details")).filter((d) => !d.open);
  for (const details of folded) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of folded) details.open = false;
});

search.addEventListener("input", filter);
for (const select of selects) select.addEventListener("change", filter);
for (const button of table.tHead.querySelectorAll("button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}
document.getElementById("reset").addEventListener("click", reset);
addEventListener("hashchange", reveal);
filter();
reveal();
