// Elements of the page. Texts of documents and queries become text nodes, never markup.

const SHADES = 10; // of similarities, as in colmodern/report/heat_map.py
const MARKS = 4; // strengths of marked passages
const AROUND = 60; // code points of a snippet on either side of a passage
const BEGINNING = 240; // code points of a snippet without passages
const SCORED_BY = {
  probed: "no score yet: centroids are chosen",
  gathered: "by the probed centroids of its tokens",
  pruned: "by the centroids of all its tokens",
  refined: "by its compressed tokens, with integers",
  scored: "by its tokens, in float32",
};

// An element with attributes and children, which are elements or texts.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

// A text with its passages marked. Spans count code points; a JavaScript string counts UTF-16 units.
export function marked(text, spans, { isSnippet = false } = {}) {
  const points = Array.from(text);
  const largest = Math.max(...spans.map((span) => span.score), 0) || 1;
  const shown = document.createDocumentFragment();
  let end = 0;
  for (const span of spans) {
    shown.append(between(points, end, span.start, isSnippet, end > 0, true));
    const shade = Math.max(1, Math.ceil(MARKS * Math.min(1, span.score / largest)));
    const passage = points.slice(span.start, span.end).join("");
    const attributes = { class: `m${shade}`, title: `adds ${span.score.toFixed(2)}` };
    shown.append(element("mark", attributes, passage));
    end = span.end;
  }
  shown.append(between(points, end, points.length, isSnippet, spans.length > 0, false));
  return shown;
}

// The text between two passages; in a snippet only what is near them.
function between(points, start, end, isSnippet, hasBefore, hasAfter) {
  const before = hasBefore ? AROUND : hasAfter ? 0 : BEGINNING;
  const after = hasAfter ? AROUND : 0;
  if (!isSnippet || end - start <= before + after) return points.slice(start, end).join("");
  // cut between words, where a space is near
  const left = points.slice(start, start + before).join("").replace(/\s\S{0,20}$/, "");
  const right = points.slice(end - after, end).join("").replace(/^\S{0,20}\s/, "");
  return `${left} … ${right}`;
}

// The text that a result shows, and its spans: those of its best passage, where documents have passages.
function shownPart({ text, spans = [], passage = null }) {
  if (passage === null || passage.start === null) return { part: text, inPart: spans };
  const { start, end } = passage;
  const inPart = spans.map((span) => ({ ...span, start: span.start - start, end: span.end - start }));
  return { part: Array.from(text).slice(start, end).join(""), inPart };
}

// Where the best passage is, counted from 1 for people.
function passageLine({ number, start, end }) {
  const where = start === null ? "" : `, characters ${count(start)} to ${count(end)}`;
  return element("div", { class: "id soft passage" }, `passage ${count(number + 1)}${where}`);
}

// A result: a button with rank, title or id, and score, over a snippet.
export function resultItem(hit) {
  const title = hit.title || "";
  const name = element("span", { class: "name", dir: "auto" });
  name.append(title ? marked(title, hit.title_spans || []) : hit.id);
  const button = element(
    "button", { type: "button", "aria-expanded": "false" },
    element("span", { class: "rank" }, `${hit.rank}`), name,
    element("span", { class: "score", title: "MaxSim with the query" }, hit.score.toFixed(2)),
  );
  const item = element("li", { class: "result" }, button);
  if (title) item.append(element("div", { class: "id soft mono" }, hit.id));
  if (hit.passage) item.append(passageLine(hit.passage));
  if (hit.text) {
    const { part, inPart } = shownPart(hit);
    const snippet = element("p", { class: "snippet", dir: "auto" });
    snippet.append(marked(part, inPart, { isSnippet: true }));
    item.append(snippet);
  }
  return { item, button };
}

// The stages of a search with a document, its text, and the heat map.
export function explanation(answer) {
  const outcome = element("div", { class: `doc ${answer.is_result ? "hit" : "miss"}` });
  outcome.append(
    element("div", {}, `${sentence(answer.reason)}.`),
    element("div", { class: "soft" }, `Score ${decimal(answer.score)}, the sum over the query's tokens.`),
  );
  const shown = element("div", { class: "explanation" }, outcome, stages(answer));
  if (answer.text !== null) {
    const text = element("div", { class: "text", dir: "auto", tabindex: "0", role: "region", "aria-label": "text" });
    text.append(marked(answer.text, answer.spans));
    shown.append(element("h3", {}, "Text"));
    if (answer.title) {
      const title = element("p", { class: "title", dir: "auto" });
      title.append(marked(answer.title, answer.title_spans));
      shown.append(title);
    }
    shown.append(text);
  }
  shown.append(element("h3", {}, "Words that match"), ...heatMap(answer.heat_map));
  return shown;
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function stages(answer) {
  const rows = answer.stages.map((stage, number) => {
    const next = answer.stages[number + 1];
    const [isLost, outcome] = outcomeOf(answer, stage, next, number);
    return element(
      "tr", { class: isLost ? "lost" : null },
      element("th", { scope: "row" }, stage.stage, element("br"), element("small", {}, SCORED_BY[stage.stage] || "")),
      element("td", {}, outcome),
      element("td", { class: "n" }, count(stage.documents)),
      element("td", { class: "n" }, stage.rank === null ? "–" : count(stage.rank)),
      element("td", { class: "n" }, stage.score === null ? "–" : decimal(stage.score)),
    );
  });
  const header = element(
    "tr", {}, element("th", {}, "stage"), element("th", {}, "outcome"), element("th", { class: "n" }, "documents"),
    element("th", { class: "n" }, "rank"), element("th", { class: "n" }, "score"),
  );
  return element(
    "div", { class: "scroll" },
    element("table", { class: "stages" }, element("thead", {}, header), element("tbody", {}, ...rows)),
  );
}

function outcomeOf(answer, stage, next, number) {
  if (stage.rank === null && answer.lost_at === null) return [true, "below the results"];
  if (stage.rank === null) {
    const isFirst = number === 0;
    return [isFirst, isFirst ? "lost: no centroid of its tokens was probed" : "not reached"];
  }
  if (next === undefined) return [!answer.is_result, answer.is_result ? "a result" : "below the results"];
  if (next.rank === null) return [true, `lost: ${count(next.documents)} went on`];
  return [false, "goes on"];
}

// A table with a row for each query token and a column for each token of the document.
function heatMap(map) {
  if (map === null) return [element("p", { class: "soft" }, "The query or the document has no tokens.")];
  const isGap = map.positions.map((position, i) => position - (i ? map.positions[i - 1] : -1) > 1);
  const largest = Math.max(1, ...map.similarities.flat());
  const header = map.document_words.map((word, i) =>
    element("th", { scope: "col", class: isGap[i] ? "gap" : null }, element("span", {}, word)));
  const rows = map.query_words.map((word, row) => element(
    "tr", {}, element("th", { scope: "row" }, word),
    ...map.similarities[row].map((similarity, i) => {
      const isBest = map.matches[row] === i;
      const shade = Math.round(Math.min(1, Math.max(0, similarity / largest)) * SHADES);
      const kinds = [`s${shade}`, isBest ? "best" : "", isGap[i] ? "gap" : ""].filter(Boolean).join(" ");
      const title = `${word} · ${map.document_words[i]}: ${similarity.toFixed(2)}`;
      return element("td", { class: kinds, title }, isBest ? similarity.toFixed(2).replace(/^(-?)0\./, "$1.") : "");
    }),
  ));
  const label = "similarity of each query token (rows) to tokens of the document (columns)";
  const nShown = map.positions.length;
  const leftOut = nShown < map.n_document_tokens
    ? ` Shown are ${count(nShown)} of ${count(map.n_document_tokens)} tokens of the document, those around the matches; ` +
      "a line marks where tokens are left out."
    : "";
  return [
    element(
      "div", { class: "heat", tabindex: "0", role: "region", "aria-label": label },
      element("table", {}, element("thead", {}, element("tr", {}, element("td"), ...header)), element("tbody", {}, ...rows)),
    ),
    element(
      "p", { class: "scale" },
      "The stronger the colour, the more similar. A number and a frame mark the token of the document that a query token matches " +
      `best; these similarities add up to the score.${leftOut}`,
    ),
  ];
}

// Rows of an index's facts.
export function factRows(facts) {
  const total = facts.bytes.total;
  const rows = [
    ["documents", count(facts.documents)],
    ["deleted, still on disk", facts.deleted ? count(facts.deleted) : ""],
    ["tokens", count(facts.tokens)],
    ["model", facts.model || "unknown"],
    ["width of an embedding", count(facts.dim)],
    ["bytes on disk", total === undefined ? "" : count(total)],
    ["settings", Object.entries(facts.index_settings).map(([key, value]) => `${key}=${value}`).join(", ")],
    ["passages", facts.spans ? "kept" : "not kept"],
    ["documents are ranked by", { best: "their best passage", sum: "the sum of their passages" }[facts.passages] || ""],
    ["changes", facts.read_only ? "refused" : "taken"],
    ["version", facts.index_version.slice(0, 16)],
    ["fault", facts.fault || ""],
  ];
  return rows.filter(([, value]) => value !== "").map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "mono" }, value)));
}

function decimal(number) {
  return number.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}

export function count(number) {
  return number.toLocaleString("en-US");
}
