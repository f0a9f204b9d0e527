"use strict";
(() => {
  const { sides, texts, cases } = JSON.parse(document.getElementById("data").textContent);
  const list = document.getElementById("cases");
  if (!list) return;
  const PAGE = 100;
  // A word diff is quadratic in the words; longer answers are shown whole.
  const LONGEST = 1500;
  const at = (id) => document.getElementById(id);
  const make = (tag, text, name) => {
    const node = document.createElement(tag);
    if (text !== undefined && text !== null) node.textContent = text;
    if (name) node.className = name;
    return node;
  };
  const answers = (side) => (side || []).map((trial) => trial.answer || "").join("\n");
  for (const one of cases) {
    one.hay = [one.id, one.question, ...one.expected, ...one.tags, answers(one.base), answers(one.head)].join("\n").toLowerCase();
  }

  // Longest common subsequence of words: [kind, text], "-" only in the base, "+" only in the head.
  const diff = (before, after) => {
    const a = before.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) || [];
    const b = after.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) || [];
    if (a.length > LONGEST || b.length > LONGEST) return [["-", before], ["+", after]];
    const width = b.length + 1;
    const table = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        table[i * width + j] = a[i] === b[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
      }
    }
    const pieces = [];
    const push = (kind, text) => {
      if (pieces.length && pieces[pieces.length - 1][0] === kind) pieces[pieces.length - 1][1] += text;
      else pieces.push([kind, text]);
    };
    let i = 0, j = 0;
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) { push(" ", a[i]); i++; j++; }
      else if (j >= b.length || (i < a.length && table[(i + 1) * width + j] >= table[i * width + j + 1])) push("-", a[i++]);
      else push("+", b[j++]);
    }
    return pieces;
  };

  const side = (title, trial, pieces, leave) => {
    const box = make("div");
    box.append(make("h4", title));
    if (!trial || trial.answer === null) box.append(make("p", trial ? trial.status.replace("_", " ") : "not asked", "absent"));
    else {
      const text = make("div", null, "text");
      for (const [kind, words] of pieces) {
        if (kind !== leave) text.append(kind === " " ? document.createTextNode(words) : make(kind === "-" ? "del" : "ins", words));
      }
      box.append(text);
    }
    for (const [name, reason] of Object.entries(trial ? trial.failed : {})) box.append(make("div", `${name}: ${reason || "failed"}`, "bad"));
    for (const [name, reason] of Object.entries(trial ? trial.errors : {})) box.append(make("div", `${name}: ${reason}`, "bad"));
    return box;
  };

  const sources = (title, trial) => {
    const found = trial ? trial.passages : [];
    if (!found.length) return [];
    const box = make("details");
    box.append(make("summary", `${title}: ${found.length} passages, cited: ${trial.citations.join(", ") || "none"}`));
    found.forEach((number, place) => {
      box.append(make("div", trial.retrieved[place] || "", "quiet"), make("blockquote", texts[number]));
    });
    return [box];
  };

  const body = (one) => {
    const box = make("div", null, "body");
    box.append(make("h4", "expected"), make("div", one.expected.join(" / ") || "to decline", "text"));
    for (const note of one.notes) box.append(make("div", note, "quiet"));
    const trials = Math.max((one.base || []).length, (one.head || []).length);
    for (let number = 0; number < trials; number++) {
      const before = (one.base || [])[number], after = (one.head || [])[number];
      const both = before && after && before.answer !== null && after.answer !== null;
      const pieces = both ? diff(before.answer, after.answer) : null;
      const name = trials > 1 ? ` (trial ${number + 1})` : "";
      const shown = make("div", null, "sides");
      shown.append(
        side(sides[0] + name, before, pieces || [[" ", before ? before.answer : ""]], "+"),
        side(sides[1] + name, after, pieces || [[" ", after ? after.answer : ""]], "-"),
      );
      box.append(shown, ...sources(sides[0], before), ...sources(sides[1], after));
    }
    if (one.changes.length) {
      box.append(make("h4", "changed scores"));
      for (const [name, before, after] of one.changes) box.append(make("div", `${name}: ${before} → ${after}`));
    }
    return box;
  };

  const item = (one) => {
    const row = make("li"), box = make("details"), head = make("summary");
    head.append(make("span", one.status, "status " + one.status.replace(" ", "-")), make("code", one.id), make("span", one.question, "question"));
    if (one.broken.length) head.append(make("span", "✕ " + one.broken.join(", "), "bad"));
    if (one.fixed.length) head.append(make("span", "✓ " + one.fixed.join(", "), "good"));
    if (one.tags.length) head.append(make("span", one.tags.join(", "), "quiet"));
    box.append(head);
    box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) box.append(body(one)); });
    row.append(box);
    return row;
  };

  let found = cases;
  const more = at("more");
  const grow = () => {
    const from = list.children.length;
    list.append(...found.slice(from, from + PAGE).map(item));
    more.hidden = list.children.length >= found.length;
    return list.children[from];
  };
  const apply = () => {
    const wanted = at("words").value.toLowerCase(), status = at("status").value, tag = at("tag").value, metric = at("metric").value;
    found = cases.filter((one) =>
      (!status || one.status === status) && (!tag || one.tags.includes(tag)) &&
      (!metric || one.broken.includes(metric) || one.fixed.includes(metric)) && one.hay.includes(wanted));
    list.replaceChildren();
    grow();
    at("shown").textContent = `${found.length} of ${cases.length} cases`;
  };
  let waiting = 0;
  at("words").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(apply, 80); });
  for (const id of ["status", "tag", "metric"]) at(id).addEventListener("change", apply);
  more.addEventListener("click", () => { const first = grow(); if (first) first.querySelector("summary").focus(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) { event.preventDefault(); at("words").focus(); }
    if (event.key === "Escape" && document.activeElement === at("words")) { at("words").value = ""; apply(); }
  });
  apply();
})();
