// Images: one group, or all of them.
const images = document.querySelector('[data-count="images"]');
const groupButtons = [...document.querySelectorAll("button[data-group]")];
function showGroup(chosen) {
  let count = 0;
  for (const group of document.querySelectorAll("[data-images]")) {
    group.hidden = Boolean(chosen) && group.dataset.images !== chosen;
    if (!group.hidden) count += group.querySelectorAll(".example").length;
  }
  for (const button of groupButtons) button.setAttribute("aria-pressed", String(button.dataset.group === chosen));
  images.textContent = count === 1 ? "1 image" : `${count} images`;
}
for (const button of groupButtons) button.addEventListener("click", () => showGroup(button.dataset.group));
showGroup("");

// Prototypes: filter by text and class; sorted, they leave their classes for one list.
const controls = document.querySelector("[data-atlas-controls]");
const sorted = document.querySelector("[data-sorted]");
const chapters = [...document.querySelectorAll("[data-chapter]")];
const cards = [...document.querySelectorAll(".card")].map((element) => ({
  element,
  home: element.parentElement,
  text: `${element.dataset.number} ${element.dataset.class} ${element.dataset.file}`.toLowerCase(),
}));
const orders = {
  used: (card) => -Number(card.dataset.used),
  weight: (card) => -Number(card.dataset.weight),
  object: (card) => (card.dataset.object === "" ? 2 : Number(card.dataset.object)),
  number: (card) => Number(card.dataset.number),
};
function showCards() {
  const words = controls.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = controls.elements.class.value;
  const order = orders[controls.elements.sort.value];
  const list = order ? [...cards].sort((a, b) => order(a.element) - order(b.element)) : cards;
  let count = 0;
  for (const card of list) {
    const isNumber = words.length === 1 && /^\d+$/.test(words[0]);
    const hasText = isNumber ? card.element.dataset.number === words[0] : words.every((word) => card.text.includes(word));
    card.element.hidden = !hasText || (Boolean(chosen) && card.element.dataset.class !== chosen);
    if (!card.element.hidden) count += 1;
    (order ? sorted : card.home).append(card.element);
  }
  sorted.hidden = !order;
  for (const chapter of chapters) chapter.hidden = Boolean(order) || !chapter.querySelector(".card:not([hidden])");
  document.querySelector('[data-count="prototypes"]').textContent = `${count} of ${cards.length} prototypes`;
}
controls.addEventListener("input", showCards);
controls.addEventListener("submit", (event) => event.preventDefault());
showCards();

// A link to a prototype shows it, whatever the filter hides.
function showTarget() {
  const card = location.hash.startsWith("#prototype-") && document.getElementById(location.hash.slice(1));
  if (!card || !card.hidden) return;
  controls.reset();
  showCards();
  card.scrollIntoView();
}
window.addEventListener("hashchange", showTarget);
