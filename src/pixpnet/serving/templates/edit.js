"use strict";

/* Prototypes edited by hand: what is chosen is tried, shown, and only then kept. */

const editing = { state: null, chosen: new Set(), wanted: null, isBusy: false };
const note = (words, isWrong = false) => say(words, isWrong, find("[data-editing]"));
const askEdits = async (path = "", body) => (await ask(`v1/edits${path}`, body && JSON.stringify(body), {
  "Content-Type": "application/json", "X-PixPNet-Edit": "page",
})).json();

/* Do one thing at a time, and say what is wrong with it. */
async function working(words, act) {
  if (editing.isBusy) return;
  editing.isBusy = true;
  note(words);
  try {
    note(await act());
  } catch (error) {
    note(error.message, true);
  }
  editing.isBusy = false;
}

async function refresh() {
  editing.state = await askEdits();
  const { prototypes, edits, network } = editing.state;
  const left = prototypes.filter((one) => one.now !== null).length;
  find("[data-standing]").textContent = `${left} of ${prototypes.length} prototypes are in. The network that answers: ${network}.`;
  find(".edits").replaceChildren(...edits.map((one) => make("li", {}, one.told)).reverse());
  for (const button of document.querySelectorAll("[data-step]")) {
    const told = editing.state[button.dataset.step];
    Object.assign(button, { disabled: told === null, title: told ?? "" });
  }
  showPrototypes();
}

/* What would be done to those that are chosen, which a set keeps in the order of choosing. */
function changes() {
  const { value, dataset } = find("#do").selectedOptions[0];
  const text = { CLASS: find("#to").value, TEXT: find("#text").value }[dataset.text] ?? "";
  const groups = "each" in dataset ? [...editing.chosen].map((one) => [one]) : [[...editing.chosen]];
  return groups.map((prototypes) => ({ do: value, prototypes, text }));
}

function tell() {
  const { words, text } = find("#do").selectedOptions[0].dataset;
  for (const field of document.querySelectorAll("[data-for]")) field.hidden = field.dataset.for !== text;
  const told = changes().map((one) => words.replace(/\{(\w+)\}/g, (_, name) =>
    ({ all: one.prototypes.join(", "), text: one.text })[name] ?? one.prototypes[name] ?? "…"));
  find("[data-chosen]").textContent = editing.chosen.size ? `Chosen: ${told.join("; ")}` : "No prototype is chosen.";
}

function card(one) {
  const patch = there(one);
  const standing = one.now === null ? "out" : "";
  const numbers = one.now === null ? "" : `weight ${decimal(one.weight)}, used in ${Math.round(100 * one.used)} % of the test images`;
  const box = make("input", {
    type: "checkbox", checked: editing.chosen.has(one.prototype),
    attributes: { "aria-label": [`Prototype ${one.prototype}`, standing, numbers, ...one.flags].filter(Boolean).join(", ") },
  });
  box.addEventListener("change", () => {
    editing.chosen[box.checked ? "add" : "delete"](one.prototype);
    tell();
  });
  return make("li", { className: one.now === null ? "card out" : "card" }, make("label", {},
    make("span", { className: "views" },
      framed(patch, "there", `Training image ${one.image}`), crop(patch, "there")),
    make("span", { className: "label" }, box, make("strong", {}, ` Prototype ${one.prototype} `), make("span", { className: "quiet" }, standing)),
    make("span", { className: "quiet" }, numbers),
    ...one.flags.map((flag) => make("span", { className: "flag" }, flag))));
}

showPrototypes = async () => {
  if (!editing.state) return working("Looking at the prototypes …", refresh);
  const name = full[find("#of").value];
  const shown = editing.state.prototypes.filter((one) =>
    (find("#every").checked || one.class_name === name) && (!find("#doubtful").checked || one.flags.length));
  find("[data-cards]").replaceChildren(...shown.map(card));
  tell();
};

/* Show what it would do. */
function tryOut(wanted, why = find("#why").value) {
  if (!find("#by").reportValidity()) return;
  working("Trying …", async () => {
    find("[data-trial]").hidden = true;
    if (!editing.state) await refresh();
    editing.wanted = { changes: wanted, by: find("#by").value, why, follows: editing.state.follows };
    const found = await askEdits("", editing.wanted).catch(async (error) => {
      await refresh(); // which somebody else may have changed
      throw error;
    });
    find("[data-told]").textContent = found.told;
    find("[data-trial] tbody").replaceChildren(...found.rows.map(([title, ...values]) =>
      make("tr", {}, make("th", { scope: "row" }, title), ...values.map((value) => make("td", {}, value)))));
    find("[data-changed]").textContent = `${found.changed} of ${found.after.images} predictions change. Classes that are not named keep their accuracy.`;
    find("[data-trial]").hidden = false;
    find("#trial").focus();
    return "Tried; nothing is kept yet.";
  });
}

find("[data-change]").addEventListener("submit", (event) => {
  event.preventDefault();
  tryOut(changes());
});

find("[data-suggest]").addEventListener("click", () => working("Looking for what may go …", async () => {
  const found = await askEdits("/suggestions");
  find(".choices").replaceChildren(...found.map((one) => make("li", {}, make("label", {},
    make("input", { type: "checkbox", checked: one.is_free, value: JSON.stringify(one.changes) }),
    make("span", {}, `${one.told}: ${one.why}; `,
      make("span", { className: "quiet" }, `costs ${one.cost} of ${one.images} ${one.split} images`))))));
  find("[data-suggestions]").hidden = !found.length;
  find("#suggestions").focus();
  return found.length ? "Those that cost nothing are chosen." : "Nothing is suggested.";
}));
find("[data-try]").addEventListener("click", () => tryOut(
  [...document.querySelectorAll(".choices :checked")].flatMap((box) => JSON.parse(box.value)), find("#why").value || "suggested"));
for (const button of document.querySelectorAll("[data-step]")) {
  button.addEventListener("click", () => tryOut([{ do: button.dataset.step }]));
}

function endTrial() {
  find("[data-trial]").hidden = true;
  find("#do").focus();
}
find("[data-discard]").addEventListener("click", () => {
  endTrial();
  note("Nothing is changed.");
});
find("[data-keep]").addEventListener("click", () => working("Keeping …", async () => {
  endTrial();
  const found = await askEdits("", { ...editing.wanted, keep: true }).finally(refresh);
  editing.chosen.clear();
  find("#why").value = "";
  find("[data-suggestions]").hidden = true;
  showPrototypes();
  if (asked.file) predict(asked.file, { isFirst: false }); // by the network that answers now
  return `Kept: ${found.told}`;
}));
for (const name of ["every", "doubtful"]) find(`#${name}`).addEventListener("change", () => showPrototypes());
for (const name of ["do", "to", "text"]) find(`#${name}`).addEventListener("input", tell);
