// The page for people: search an index, see the passages that matched, and why a document is not there.

import { ServerError, ask, hasKey, indexPath, setKey } from "./ask.js";
import { count, element, explanation, factRows, resultItem } from "./draw.js";

const byId = (id) => document.getElementById(id);
const SLOW_MS = 200; // a search that takes longer says so
const RETRY_MS = 1000; // until a server that starts is ready
let indexes = [];
let searching = null; // AbortController of the search in progress
let explaining = null; // the same of an explanation
let searched = null; // {index, q, k} of the results that are shown

// What the address holds after #, so that a page can be shared and the back button works.
function readAddress() {
  const values = new URLSearchParams(location.hash.slice(1));
  return {
    index: values.get("index") || "", q: values.get("q") || "", k: values.get("k") || "10", doc: values.get("doc"),
  };
}

function addressOf({ index, q, k, doc }) {
  const values = new URLSearchParams({ q, index });
  if (k !== "10") values.set("k", k);
  if (doc) values.set("doc", doc);
  return `#${values}`;
}

function replaceDoc(doc) {
  history.replaceState(null, "", addressOf({ ...searched, doc }));
}

function showError(error, retry) {
  const box = byId("error");
  box.replaceChildren();
  box.hidden = false;
  const cure = error instanceof ServerError ? error.cure : "";
  box.append(element("div", {}, error.message));
  if (cure) box.append(element("div", { class: "soft" }, cure));
  if (error.status === 401) {
    byId("key").hidden = false;
    byId("key-input").focus();
  }
  if (error.code === "not_ready" && retry) {
    box.append(element("div", { class: "soft" }, "This page asks again by itself."));
    setTimeout(retry, RETRY_MS);
  }
}

function clearError() {
  byId("error").hidden = true;
  byId("key").hidden = true;
  byId("forget-key").hidden = !hasKey();
}

// Ask for the indexes, then show what the address says.
async function start() {
  byId("status").textContent = "Loading …";
  try {
    indexes = (await ask("v1/indexes")).indexes;
  } catch (error) {
    byId("status").textContent = "";
    showError(error, start);
    return;
  }
  clearError();
  byId("status").textContent = "";
  byId("index").replaceChildren(...indexes.map(({ name, documents }) =>
    element("option", { value: name }, `${name} (${count(documents)})`)));
  if (indexes.length === 0) {
    byId("status").textContent = "This server has no index. Start it with --index NAME=FOLDER.";
    return;
  }
  await follow();
}

// Show what the address says: the query, its results, and maybe an explanation.
async function follow() {
  const { index, q, k, doc } = readAddress();
  const isKnown = indexes.some(({ name }) => name === index);
  byId("index").value = isKnown || !index ? index || indexes[0].name : "";
  byId("query").value = q;
  byId("k").value = k;
  if (byId("k").value === "") byId("k").append(element("option", { selected: true }, k));
  document.title = q ? `${q} – colmodern` : "colmodern";
  if (searching !== null) searching.abort();
  if (explaining !== null) explaining.abort();
  await Promise.all([showFacts(index || indexes[0].name), q ? search(index || indexes[0].name, q, k, doc) : clear()]);
  if (!q) byId("query").focus();
}

function clear() {
  byId("results").replaceChildren();
  byId("status").textContent = "";
  byId("absent").hidden = true;
  searched = null;
  clearError();
}

async function search(index, q, k, doc) {
  searching = new AbortController();
  const { signal } = searching;
  byId("results").classList.add("stale");
  byId("results").setAttribute("aria-busy", "true");
  const slow = setTimeout(() => { byId("status").textContent = "Searching …"; }, SLOW_MS);
  try {
    const answer = await ask(indexPath(index, "search"), { body: { queries: q, k: Number(k) }, signal });
    clearError();
    searched = { index, q, k };
    showResults(answer, doc);
  } catch (error) {
    if (error.name === "AbortError") return;
    clear();
    showError(error, follow);
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) {
      byId("results").classList.remove("stale");
      byId("results").removeAttribute("aria-busy");
    }
  }
}

function showResults(answer, doc) {
  const [{ hits }] = answer.results;
  const took = Object.values(answer.took_ms).reduce((sum, ms) => sum + ms, 0);
  byId("status").textContent = hits.length === 0
    ? "No results: the index has no documents."
    : `${count(hits.length)} result${hits.length === 1 ? "" : "s"} in ${took.toFixed(0)} ms`;
  const items = hits.map((hit) => {
    const { item, button } = resultItem(hit);
    button.addEventListener("click", () => toggle(hit.id, item, button));
    return { hit, item, button };
  });
  byId("results").replaceChildren(...items.map(({ item }) => item));
  byId("absent").hidden = hits.length === 0;
  byId("absent").open = false;
  byId("absent-explanation").replaceChildren();
  byId("absent-id").value = "";
  if (!doc) return;
  const shown = items.find(({ hit }) => hit.id === doc);
  if (shown) toggle(doc, shown.item, shown.button);
  else explainAbsent(doc);
}

// Open or close the explanation of a result.
async function toggle(doc, item, button) {
  const isOpen = button.getAttribute("aria-expanded") === "true";
  item.querySelector(".explanation")?.remove();
  button.setAttribute("aria-expanded", String(!isOpen));
  replaceDoc(isOpen ? null : doc);
  if (isOpen) return;
  const shown = await explained(doc);
  if (shown && button.getAttribute("aria-expanded") === "true") insert(item, shown);
}

// Put an explanation on the page, with the first passage of its text in sight.
function insert(parent, shown) {
  parent.append(shown);
  const text = shown.querySelector(".text");
  const mark = text?.querySelector("mark");
  if (mark) text.scrollTop = mark.offsetTop - text.clientHeight / 3;
}

async function explainAbsent(doc) {
  byId("absent").open = true;
  byId("absent-id").value = doc;
  replaceDoc(doc);
  byId("absent-explanation").replaceChildren("Looking …");
  const shown = await explained(doc);
  if (shown === null) return;
  byId("absent-explanation").replaceChildren();
  insert(byId("absent-explanation"), shown);
}

// The explanation of a document, or the error in its place; null where another one was asked for meanwhile.
async function explained(doc) {
  if (explaining !== null) explaining.abort();
  explaining = new AbortController();
  const { index, q, k } = searched;
  try {
    const body = { query: q, doc_id: doc, k: Number(k) };
    return explanation(await ask(indexPath(index, "explain"), { body, signal: explaining.signal }));
  } catch (error) {
    if (error.name === "AbortError") return null;
    const shown = element("div", { class: "explanation doc miss", role: "alert" }, element("div", {}, error.message));
    if (error.cure) shown.append(element("div", { class: "soft" }, error.cure));
    return shown;
  }
}

async function showFacts(index) {
  try {
    byId("facts-rows").replaceChildren(...factRows(await ask(indexPath(index))));
    byId("facts").hidden = false;
  } catch {
    byId("facts").hidden = true; // the search says what is wrong
  }
}

// Go to the address of what the form says; the same address again searches again.
function submit() {
  const q = byId("query").value.trim();
  if (!q) return;
  const address = addressOf({ index: byId("index").value, q, k: byId("k").value });
  if (address === location.hash) follow();
  else location.hash = address;
}

function move(event) {
  const buttons = [...document.querySelectorAll(".result > button")];
  const at = buttons.indexOf(document.activeElement);
  const isInQuery = document.activeElement === byId("query");
  if (event.key === "ArrowDown" && (at >= 0 || isInQuery) && at + 1 < buttons.length) buttons[at + 1].focus();
  else if (event.key === "ArrowUp" && at > 0) buttons[at - 1].focus();
  else if (event.key === "ArrowUp" && at === 0) byId("query").focus();
  else return;
  event.preventDefault();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const isTyping = /^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    byId("query").select();
    byId("query").focus();
  } else if (event.key === "Escape" && document.activeElement !== byId("query")) {
    byId("query").focus();
  } else {
    move(event);
  }
});
byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
byId("index").addEventListener("change", () => {
  if (byId("query").value.trim()) submit();
  else showFacts(byId("index").value);
});
byId("k").addEventListener("change", submit);
byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(byId("key-input").value.trim());
  byId("key-input").value = "";
  start();
});
byId("forget-key").addEventListener("click", () => {
  setKey("");
  location.reload();
});
byId("absent-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (byId("absent-id").value && searched) explainAbsent(byId("absent-id").value);
});
addEventListener("hashchange", follow);
start();
