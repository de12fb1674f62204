"use strict";

const find = (selector) => document.querySelector(selector);
const seen = { width: Number(document.body.dataset.width), height: Number(document.body.dataset.height) };
const names = [...find("#of").options].map((option) => option.text);
const full = [...find("#of").options].map((option) => option.dataset.name); // as the API says them
const asked = { file: null, picture: null, prediction: null, against: null, number: 0 };

/* An element with properties and attributes, and what is in it; texts are never markup. */
function make(tag, { attributes = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function decimal(value, signed = false) {
  const text = Math.abs(value).toFixed(2);
  const isZero = Number(text) === 0;
  return (value < 0 && !isZero ? "−" : signed && !isZero ? "+" : "") + text;
}

/* Rounded, but never to all or nothing. */
function percent(share) {
  const text = (100 * share).toFixed(1);
  if (text === "100.0") return "> 99.9 %";
  return text === "0.0" ? "< 0.1 %" : `${text} %`;
}

function say(words, isWrong = false, status = find("[data-status]")) {
  status.textContent = words || " ";
  status.classList.toggle("wrong", isWrong);
}

async function ask(path, body, headers = { "Content-Type": "application/octet-stream" }) {
  const answer = await fetch(path, body ? { method: "POST", body, headers } : { headers }).catch(() => {
    throw new Error("The server does not answer, or the picture is too large for it.");
  });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({ error: `The server answered ${answer.status}.` }));
  throw new Error(told.error);
}

/* A box, in pixels of a picture of that size, over the whole picture. */
function place(frame, [left, top, right, bottom], { width, height }) {
  frame.style.left = `${(100 * left) / width}%`;
  frame.style.top = `${(100 * top) / height}%`;
  frame.style.width = `${(100 * (right - left)) / width}%`;
  frame.style.height = `${(100 * (bottom - top)) / height}%`;
}

/* A whole picture with a box in it. */
function framed(patch, kind, words) {
  const frame = make("span", { className: `frame ${kind}` });
  const picture = make("span", { className: "picture", attributes: { role: "img", "aria-label": words } }, frame);
  show(picture, patch);
  return picture;
}

function show(picture, { image, box, size }) {
  picture.style.aspectRatio = `${size.width} / ${size.height}`;
  picture.style.backgroundImage = image ? `url("${image}")` : "none";
  place(picture.firstElementChild, box, size);
}

/* The box alone. */
function crop({ image, box: [left, top, right, bottom], size }, kind) {
  const [wide, high] = [Math.max(right - left, 1), Math.max(bottom - top, 1)];
  const inner = make("span");
  const share = (part, whole) => (whole > 0 ? `${(100 * part) / whole}%` : "0%");
  inner.style.width = share(Math.min(wide, high), high);
  inner.style.aspectRatio = `${wide} / ${high}`;
  inner.style.backgroundImage = image ? `url("${image}")` : "none";
  inner.style.backgroundSize = `${share(size.width, wide)} ${share(size.height, high)}`;
  inner.style.backgroundPosition = `${share(left, size.width - wide)} ${share(top, size.height - high)}`;
  return make("span", { className: `crop ${kind}`, attributes: { "aria-hidden": "true" } }, inner);
}

const here = (one) => ({ image: asked.picture.jpeg, box: one.box_in_picture, size: asked.picture });
const sourceImage = (id) => ("images" in document.body.dataset ? `v1/images?id=${encodeURIComponent(id)}` : null);
const there = ({ image_id, box }) => ({ image: sourceImage(image_id), box, size: seen });
const nameOf = (one) => (one.class_index === null ? one.class_name : names[one.class_index]);

/* One prototype's say; with the focus, or under the pointer, its boxes are the ones that the pictures show. */
function row(one, value, sum, largest, onShow) {
  const bar = make("span");
  bar.style.width = `${(100 * Math.abs(value)) / largest}%`;
  const words = make("span", { className: "words" },
    make("span", { className: "name" }, `Prototype ${one.number} `, make("span", { className: "quiet" }, `of ${nameOf(one)}`)),
    make("span", { className: "sum quiet" }, sum),
    make("span", { className: `bar ${value < 0 ? "against" : "for"}`, attributes: { "aria-hidden": "true" } }, bar));
  const button = make("button", { type: "button", className: "row" },
    crop(here(one), "here"),
    make("span", { className: "like", attributes: { "aria-hidden": "true" } }, "≈"),
    crop(there(one.source), "there"), words,
    make("span", { className: "value" }, decimal(value, true)));
  for (const kind of ["pointerover", "focusin", "click"]) button.addEventListener(kind, () => onShow(button, one));
  return button;
}

/* Both pictures, and the rows of each group under its title. */
function evidence(article, groups) {
  article.replaceChildren();
  const all = groups.flatMap((group) => group.rows);
  if (!all.length) return;
  const first = all[0].one;
  const words = (one) => `Training image of prototype ${one.number}, ${nameOf(one)}`;
  const left = framed(here(first), "here", "Your picture, with the patch that the chosen prototype found");
  const right = framed(there(first.source), "there", words(first));
  const caption = make("figcaption", {}, words(first));
  const onShow = (button, one) => {
    for (const other of article.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    show(left, here(one));
    show(right, there(one.source));
    right.setAttribute("aria-label", words(one));
    caption.textContent = words(one);
  };
  const largest = Math.max(...all.map(({ value }) => Math.abs(value))) || 1;
  const list = make("div", { className: "list" });
  for (const { title, rows, rest } of groups) {
    if (title) list.append(make("h4", {}, title));
    const items = rows.map(({ one, value, sum }) => make("li", {}, row(one, value, sum, largest, onShow)));
    list.append(make("ol", { className: "rows" }, ...items));
    if (rest) list.append(make("p", { className: "rest" }, rest));
  }
  article.append(
    make("div", { className: "pictures" },
      make("figure", {}, left, make("figcaption", {}, "Your picture")),
      make("figure", {}, right, caption)),
    list);
  article.querySelector(".row").setAttribute("aria-current", "true");
}

document.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const current = step && event.target instanceof Element && event.target.closest(".row");
  if (!current) return;
  const rows = [...current.closest("[data-evidence]").querySelectorAll(".row")];
  rows[rows.indexOf(current) + step]?.focus();
  event.preventDefault();
});

async function predict(file, { isFirst = true } = {}) {
  const number = ++asked.number;
  find("[data-answer]").hidden = find("[data-contrast]").hidden = true;
  say(`Looking at ${file.name} …`);
  try {
    const [prediction, picture] = await Promise.all(
      ["v1/predict?top_k=5", "v1/picture"].map(async (path) => (await ask(path, file)).json()));
    if (number !== asked.number) return; // another one was dropped meanwhile
    Object.assign(asked, { file, prediction: { ...prediction, path: file.name }, picture, against: null });
  } catch (error) {
    if (number === asked.number) say(error.message, true);
    return;
  }
  const { predicted, probability, second_class, margin, unfamiliar } = asked.prediction;
  find("#class").textContent = `${names[predicted]}, ${percent(probability)}`;
  find("[data-sure]").textContent = [
    second_class === null ? "" : `Next: ${names[full.indexOf(second_class)]}, ${percent(probability - margin)}. `,
    unfamiliar === null ? "The run has no calibration." : `${Math.round(100 * unfamiliar)} % of the validation images are more like the training images (unfamiliar: ${decimal(unfamiliar)}).`,
  ].join("");
  const strange = find("[data-unfamiliar]");
  strange.hidden = unfamiliar === null || unfamiliar < 0.95;
  strange.textContent = "The picture is unlike the training images: it may show none of the classes.";
  evidence(find('[data-evidence="predict"]'), [{
    rows: asked.prediction.evidence.map((one) => ({
      one, value: one.contribution, sum: `similarity ${decimal(one.similarity)} × weight ${decimal(one.weight)}`,
    })),
  }]);
  for (const option of find("#against").options) option.disabled = option.hidden = Number(option.value) === predicted;
  find("#against").value = String(full.indexOf(second_class));
  find("[data-answer]").hidden = false;
  say(`${file.name}: ${names[predicted]}`);
  if (!isFirst) return; // who edits stays where they are
  find("#class").focus();
  find("#of").value = String(predicted);
  showPrototypes();
}

async function contrast() {
  const against = find("#against").value;
  if (against === "") return;
  const number = asked.number;
  say("Comparing …");
  try {
    const found = await (await ask(`v1/contrast?against=${against}&top_k=5`, asked.file)).json();
    if (number !== asked.number) return;
    const [target, other] = [names[found.target], names[found.other]];
    const side = (sign, name) => ({
      title: `For ${name}`,
      rows: found.shares.filter((one) => sign * one.difference > 0)
        .sort((one, two) => sign * (two.difference - one.difference))
        .map((one) => {
          const [own, its] = sign > 0 ? [one.weight, one.other_weight] : [one.other_weight, one.weight];
          return {
            one, value: sign * one.difference,
            sum: `similarity ${decimal(one.similarity)} × (${decimal(own)} − ${decimal(its)})`.replace("− −", "+ "),
          };
        }),
    });
    find("#contrast").textContent = `Why ${target} and not ${other}?`;
    const groups = [side(1, target), side(-1, other)];
    groups[1].rest = `The logits differ by ${decimal(found.difference)}. Numbers: similarity × (weight for this class − weight for the other).`;
    find("[data-contrast]").hidden = false;
    evidence(find('[data-evidence="contrast"]'), groups);
    Object.assign(asked, { against: found });
    say(find("#contrast").textContent);
    find("#contrast").focus();
  } catch (error) {
    if (number === asked.number) say(error.message, true);
  }
}

let showPrototypes = async () => {
  const chosen = find("#of").value;
  try {
    const found = await (await ask(`v1/prototypes?class=${chosen}`)).json();
    if (chosen !== find("#of").value) return;
    find("[data-cards]").replaceChildren(...found.classes[0].prototypes.map((one) => {
      const patch = there(one);
      return make("li", { className: "card" },
        make("span", { className: "views" },
          framed(patch, "there", `Prototype ${one.number} in a training image of ${names[one.label]}`), crop(patch, "there")),
        make("span", { className: "label" }, make("strong", {}, `Prototype ${one.number}`)),
        make("span", { className: "quiet" }, `weight ${decimal(one.weight)}`));
    }));
  } catch (error) {
    say(error.message, true);
  }
};

function save(blob, ending) {
  const link = make("a", {
    href: URL.createObjectURL(blob), download: `${asked.file.name.replace(/\.[^.]*$/, "")}_explanation.${ending}`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function download(ending) {
  if (ending === "json") {
    const content = asked.against ? { ...asked.prediction, contrast: asked.against } : asked.prediction;
    save(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }), "json");
    return;
  }
  say("Drawing …");
  try {
    const query = asked.against ? `?against=${asked.against.other}` : "";
    save(await (await ask(`v1/figure${query}`, asked.file)).blob(), "png");
    say("");
  } catch (error) {
    say(error.message, true);
  }
}

const first = (list) => list?.files?.[0] && predict(list.files[0]);
find("#file").addEventListener("change", (event) => first(event.target));
find("[data-drop]").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("paste", (event) => first(event.clipboardData));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dragging", kind === "dragover");
    if (kind === "drop") first(event.dataTransfer);
  });
}
find("[data-why]").addEventListener("click", contrast);
for (const button of document.querySelectorAll("[data-save]")) button.addEventListener("click", () => download(button.dataset.save));
find("#of").addEventListener("change", () => showPrototypes());
document.addEventListener("DOMContentLoaded", () => showPrototypes()); // after edit.js, which shows them otherwise
