// The list of examples: filters, pages, and both completions side by side. Only one page of it is in the document.
// Every text from the data goes through textContent; nothing is parsed as HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  if (!data.items) return;
  const PAGE = 20;
  const statusName = (status) => ({ truncated: "cut", error: "engine error" })[status] || status.replace("_", " ");
  const form = document.getElementById("filters");
  const list = document.getElementById("list");
  const pagers = document.querySelectorAll(".pager");
  let found = [];
  let page = 0;

  const make = (name, options, ...inside) => {
    const node = Object.assign(document.createElement(name), options);
    node.append(...inside.filter((each) => each !== null));
    return node;
  };

  const scoreOf = (item, side) => (item.by[side] ? item.by[side].score : null);
  const changeOf = (item, left, right) => {
    const [a, b] = [scoreOf(item, left), scoreOf(item, right)];
    if (a === null || b === null) return "unknown";
    if (a !== b) return b > a ? "gained" : "lost";
    return a === 1 ? "right" : "wrong";
  };

  const textOf = (item, sides) => [
    item.id, item.gold, ...(item.prompt || []).map((turn) => turn[1]),
    ...sides.flatMap((side) => (item.by[side] ? item.by[side].said.map((said) => said[2]) : [])),
  ].join("\n").toLowerCase();

  const chosen = () => {
    const values = Object.fromEntries(new FormData(form));
    return {
      left: Number(values.left), right: Number(values.right), change: values.change, status: values.status,
      text: values.text.trim().toLowerCase(),
      tags: Object.keys(data.tags).map((tag, i) => [tag, values[`tag${i}`]]).filter((pair) => pair[1] !== ""),
    };
  };

  const fits = (item, by) => {
    const change = changeOf(item, by.left, by.right);
    if (by.change && (by.change === "differs" ? !["gained", "lost"].includes(change) : by.change !== change)) return false;
    if (by.status && !(item.by[by.right] && item.by[by.right].said.some((said) => said[0] === by.status))) return false;
    if (by.tags.some(([tag, value]) => item.tags[tag] !== value)) return false;
    return !by.text || textOf(item, [by.left, by.right]).includes(by.text);
  };

  const completions = (item, side) => {
    const { label, colour } = data.models[side];
    const head = make("h4", {}, make("span", { className: `key s${colour % 7}` }), label);
    const answers = item.by[side];
    if (!answers) return make("div", { className: "side" }, head, make("p", {}, "didn't answer this example"));
    const blocks = answers.said.flatMap(([status, tokens, text, answer, problem], i) => [
      make("p", { className: "said" },
        answers.said.length > 1 ? `sample ${i + 1}: ` : "",
        make("span", { className: `status ${status}` }, statusName(status)),
        ` ${tokens} tokens`, problem ? `; ${problem}` : "", answer === null ? "" : `; answer ${answer}`),
      make("pre", {}, text),
    ]);
    return make("div", { className: "side" }, head, ...blocks);
  };

  const article = (item, left, right) => {
    const change = changeOf(item, left, right);
    const shown = { gained: "▲ gained", lost: "▼ lost", right: "both right", wrong: "neither right", unknown: "one side" };
    const tags = Object.entries(item.tags).map(([tag, value]) => make("span", { className: "tag" }, `${tag}=${value}`));
    const turns = (item.prompt || []).map(([role, text]) =>
      make("div", { className: "turn" }, make("span", { className: "role" }, role), make("pre", {}, text)));
    return make("article", { className: `example ${change}` },
      make("h3", {}, make("span", { className: "change" }, shown[change]), ` ${item.id} `, ...tags),
      ...turns,
      make("div", { className: "turn" }, make("span", { className: "role" }, "gold"), make("pre", {}, item.gold)),
      make("div", { className: "sides" }, completions(item, left), left === right ? null : completions(item, right)));
  };

  const draw = () => {
    const by = chosen();
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    list.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((item) => article(item, by.left, by.right)));
    for (const pager of pagers) {
      pager.querySelector(".page").textContent = `page ${page + 1} of ${pages}`;
      pager.querySelector(".back").disabled = page === 0;
      pager.querySelector(".forth").disabled = page === pages - 1;
    }
    pagers[1].hidden = pages === 1;
  };

  const refresh = () => {
    const by = chosen();
    found = data.items.filter((item) => fits(item, by));
    page = 0;
    document.getElementById("count").textContent = `${found.length} of ${data.items.length} examples`;
    draw();
  };

  const option = (value, text, selected) => make("option", { value, defaultSelected: selected, selected }, text);
  const fill = () => {
    for (const [name, side] of [["left", data.left], ["right", data.right]]) {
      form.elements[name].append(...data.models.map((model, i) => option(String(i), model.label, i === side)));
    }
    form.elements.status.append(...data.statuses.map((status) => option(status, statusName(status), false)));
    document.getElementById("tags").replaceWith(...Object.entries(data.tags).map(([tag, values], i) =>
      make("label", {}, `${tag} `, make("select", { name: `tag${i}` }, option("", "any", true),
        ...values.map(([value, n]) => option(value, `${value} (${n})`, false))))));
    const flips = data.items.some((item) => ["gained", "lost"].includes(changeOf(item, data.left, data.right)));
    form.elements.change.querySelector(`[value="${flips ? "differs" : ""}"]`).defaultSelected = true;
  };

  let waiting = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, 120);
  });
  form.addEventListener("reset", () => setTimeout(refresh));
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const pager of pagers) {
    const go = (by) => () => {
      page += by;
      draw();
      if (pager === pagers[1]) pagers[0].scrollIntoView();
    };
    pager.querySelector(".back").addEventListener("click", go(-1));
    pager.querySelector(".forth").addEventListener("click", go(1));
    pager.hidden = false;
  }
  // A slice's name leads to its examples, whatever their change.
  for (const link of document.querySelectorAll("a[data-tag]")) {
    link.addEventListener("click", () => {
      form.reset();
      form.elements.change.value = "";
      form.elements[`tag${Object.keys(data.tags).indexOf(link.dataset.tag)}`].value = link.dataset.value;
      refresh();
    });
  }
  fill();
  form.hidden = false;
  refresh();
})();
