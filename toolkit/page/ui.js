// The local page: polls what changes, asks the models, shows samples. The server's fragments are escaped there; every
// other text goes through textContent.
"use strict";
(() => {
  const EVERY = 3000; // milliseconds between looks at a run
  const WAIT = 400; // between looks at a question
  const run = document.getElementById("run");
  const make = (name, options, ...inside) => {
    const node = Object.assign(document.createElement(name), options);
    node.append(...inside.filter((each) => each !== null));
    return node;
  };
  const sleep = (time) => new Promise((done) => setTimeout(done, time));

  // An answer of the server, or an Error that says in words why there is none.
  const get = async (address, options) => {
    let response;
    try {
      response = await fetch(address, options);
    } catch {
      throw new Error("the server doesn't answer; is `toolkit ui` still running?");
    }
    const found = await response.json().catch(() => ({ error: `the server said ${response.status}` }));
    if (!response.ok) throw new Error(found.error);
    return found;
  };

  // A chosen colour scheme holds for the tab's other pages.
  const theme = document.getElementById("theme");
  const root = document.documentElement;
  const kept = sessionStorage.getItem("theme");
  if (kept && kept === theme.textContent.toLowerCase()) theme.click();
  theme.addEventListener("click", () => sessionStorage.setItem("theme", root.dataset.theme));

  // Parts: fragments that the server draws anew when a file changed.
  const stamps = {};
  const keep = (part) => {
    const open = new Set([...part.querySelectorAll("details[open]")].map((each) => each.id));
    const chosen = new Set([...part.querySelectorAll("input:checked")].map((each) => each.value));
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const same = focused && (focused.value ? `[value="${CSS.escape(focused.value)}"]` : focused.getAttribute("href"));
    return () => {
      for (const each of part.querySelectorAll("details")) each.open = open.has(each.id);
      for (const each of part.querySelectorAll("input")) each.checked = chosen.has(each.value);
      if (!same) return;
      const again = [...part.querySelectorAll("a, input")].find((each) => each.matches(same.startsWith("[") ? same : "a") && (same.startsWith("[") || each.getAttribute("href") === same));
      if (again) again.focus();
    };
  };
  const look = async (address) => {
    const found = await get(`${address}?${new URLSearchParams(stamps)}`);
    for (const [name, { stamp, html }] of Object.entries(found)) {
      const part = document.querySelector(`[data-part="${name}"]`);
      if (html === undefined || !part) continue;
      const restore = keep(part);
      part.innerHTML = html;
      restore();
      stamps[name] = stamp;
    }
  };
  const poll = async (address, also) => {
    const gone = document.getElementById("gone");
    for (;;) {
      if (!document.hidden) {
        try {
          await look(address);
          await also();
          gone.hidden = true;
        } catch (error) {
          gone.textContent = error.message;
          gone.hidden = false;
        }
      }
      await sleep(EVERY);
    }
  };

  // The list: two or more can be compared.
  const choose = document.getElementById("choose");
  if (choose) {
    const count = () => {
      document.getElementById("compare").disabled = choose.querySelectorAll("input:checked").length < 2;
    };
    choose.addEventListener("change", count);
    count();
    poll("/list", async () => count());
  }

  // The box.
  const states = { waiting: "waiting its turn…", loading: "loading the model…", answering: "thinking…" };
  const side = (one) => {
    const head = make("h4", {}, make("span", { className: `key ${one.name === "base" ? "s0" : "s2"}` }), one.title);
    if (one.state in states) {
      const bar = make("progress", {});
      bar.setAttribute("aria-label", `${one.title}: ${states[one.state]}`);
      return make("div", { className: "side" }, head, make("p", { className: "note" }, states[one.state], bar));
    }
    const parts = [head];
    if (one.reasoning !== null) {
      parts.push(make("p", { className: "answer" }, one.answer));
      parts.push(make("p", { className: "said" }, "reasoning"), make("pre", {}, one.reasoning));
    } else {
      if (one.problem !== null) parts.push(make("p", { className: "problem" }, one.completion ? `no well-formed answer: ${one.problem}` : one.problem));
      if (one.completion) parts.push(make("p", { className: "said" }, "completion"), make("pre", {}, one.completion));
    }
    const tokens = one.tokens === null ? "" : `${one.tokens} tokens, `;
    if (one.state === "done") parts.push(make("p", { className: "said" }, `${tokens}${one.seconds.toFixed(1)} s`));
    return make("div", { className: "side" }, ...parts);
  };
  const form = document.getElementById("question");
  if (form) {
    const two = (number) => String(number).padStart(2, "0");
    const now = new Date();
    const ahead = -now.getTimezoneOffset();
    const start = {
      date: `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`,
      time: `${two(now.getHours())}:${two(now.getMinutes())}`,
      offset: `${ahead < 0 ? "-" : "+"}${two(Math.floor(Math.abs(ahead) / 60))}:${two(Math.abs(ahead) % 60)}`,
    };
    for (const [name, value] of Object.entries(start)) {
      if (form.elements[name] && !form.elements[name].value) form.elements[name].value = value;
    }
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const values = Object.fromEntries(new FormData(form));
      const when = [values.date, values.time, values.offset].filter(Boolean).join(" ");
      const sides = make("div", { className: "sides" });
      const said = make("p", { className: "problem", hidden: true });
      const asked = make("article", { className: "asked" }, make("h3", {}, values.text), when ? make("p", { className: "note" }, `said on ${when}`) : null, said, sides);
      document.getElementById("answers").prepend(asked);
      try {
        let found = await get("/ask", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ run: run.dataset.id, ...values }) });
        let shown = "";
        for (;;) {
          const state = JSON.stringify(found.sides);
          if (state !== shown) sides.replaceChildren(...found.sides.map(side)); // a side that waits keeps its bar moving
          shown = state;
          if (found.done) break;
          await sleep(WAIT);
          found = await get(`/ask/${found.id}`);
        }
      } catch (error) {
        said.textContent = error.message;
        said.hidden = false;
      }
    });
  }

  // Samples of a step of GRPO; at the right end of the slider, always of the newest.
  const place = document.querySelector("#place input");
  let newest = "";
  const rollout = (one) => make("div", { className: "side" },
    make("p", { className: "said" }, make("strong", {}, `reward ${one.reward}`), one.times > 1 ? ` × ${one.times}` : "", one.parts ? ` (${one.parts})` : "", one.tokens ? `; ${one.tokens} tokens` : ""),
    make("pre", {}, one.completion));
  const samples = async () => {
    const found = await get(`/run/${run.dataset.id}/samples?at=${place.value}`);
    const text = JSON.stringify(found);
    if (text === newest) return;
    newest = text;
    const more = found.more ? `; ${found.more} more prompts of this step` : "";
    document.querySelector("#place output").textContent = found.step === null ? "no rollout yet" : `after step ${found.step}${more}`;
    document.getElementById("rollouts").replaceChildren(...found.groups.map((group) => make("article", { className: "example" },
      make("h3", {}, group.id),
      group.question ? make("div", { className: "turn" }, make("span", { className: "role" }, "user"), make("pre", {}, group.question)) : null,
      group.gold ? make("div", { className: "turn" }, make("span", { className: "role" }, "gold"), make("pre", {}, group.gold)) : null,
      make("div", { className: "sides" }, ...group.rollouts.map(rollout)))));
  };
  if (place) place.addEventListener("input", () => samples().catch(() => {})); // the next look says what is wrong
  if (run) poll(`/run/${run.dataset.id}/live`, async () => (place && place.value === "1" ? samples() : null));
})();
