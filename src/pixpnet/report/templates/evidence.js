"use strict";
document.documentElement.classList.add("script");

// Evidence: the row under the pointer, or with the focus, is the one whose boxes the pictures show.
function showRow(row) {
  const article = row.closest("[data-evidence]");
  if (row.getAttribute("aria-current") === "true") return;
  for (const other of article.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
  row.setAttribute("aria-current", "true");
  const here = article.querySelector('[data-picture="here"]');
  const there = article.querySelector('[data-picture="there"]');
  here.firstElementChild.style.cssText = row.dataset.here;
  there.firstElementChild.style.cssText = row.dataset.there;
  there.className = `picture ${row.dataset.source}`;
  there.setAttribute("aria-label", `Training image of ${row.dataset.words}`);
  article.querySelector("figcaption [data-words]").textContent = row.dataset.words;
}

for (const kind of ["pointerover", "focusin", "click"]) {
  document.addEventListener(kind, (event) => {
    const row = event.target instanceof Element && event.target.closest(".row");
    if (row) showRow(row);
  });
}

document.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const row = step && event.target instanceof Element && event.target.closest(".row");
  if (!row) return;
  const rows = [...row.closest("[data-evidence]").querySelectorAll(".row")];
  const next = rows[rows.indexOf(row) + step];
  if (next) next.focus();
  event.preventDefault();
});
