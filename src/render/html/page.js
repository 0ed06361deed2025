// What a mouse can do on the page; without it everything is there to be read.
"use strict";
(() => {
  const root = document.documentElement;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  root.classList.add("scripted");

  // The theme is the system's choice until the reader makes one.
  one("#theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // A link to a matrix opens its section, even when it leads there a second time.
  const open = (id) => {
    const target = document.getElementById(id);
    const section = target && target.closest("details");
    if (!section) return;
    section.hidden = false;
    section.open = true;
    section.scrollIntoView({ block: "start" });
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#m']");
    if (!link) return;
    event.preventDefault();
    history.replaceState(null, "", link.hash);
    open(link.hash.slice(1));
  });
  if (location.hash.startsWith("#m")) open(location.hash.slice(1));

  // Find a column: the others are hidden, and the first that is left is shown.
  const find = one("#find");
  if (find) find.addEventListener("input", () => {
    const wanted = find.value.trim().toLowerCase();
    const options = all("#column option");
    for (const option of options) option.hidden = !option.textContent.toLowerCase().includes(wanted);
    for (const group of all("#column optgroup")) group.hidden = all("option", group).every((option) => option.hidden);
    const first = options.find((option) => !option.hidden && !option.disabled);
    if (wanted && first) one("#column").value = first.value;
  });

  // Filter: by name or glob, module type, and whether there is news.
  const rows = all(".matrices tbody tr");
  const sections = new Map(all("details.matrix").map((section) => [section.dataset.row, section]));
  const pattern = (text) => {
    const literal = text.trim().replace(/[.+^${}()|[\]\\]/g, "\\$&");
    const glob = literal.replace(/\*/g, ".*").replace(/\?/g, ".");
    return new RegExp(/[*?]/.test(text) ? `^${glob}$` : glob, "i");
  };
  const filter = () => {
    const name = pattern(one("#name").value);
    const kind = one("#kind").value;
    const news = one("#news").checked;
    let kept = 0;
    for (const row of rows) {
      const keep = name.test(row.cells[0].textContent) && (kind === "" || row.dataset.kind === kind)
        && (!news || row.dataset.news !== undefined);
      row.hidden = !keep;
      kept += keep;
      const section = sections.get(row.dataset.row);
      if (section) section.hidden = !keep;
    }
    one("#count").textContent = `${kept} of ${rows.length}`;
  };
  for (const id of ["#name", "#kind", "#news"]) one(id).addEventListener("input", filter);
  filter();

  // Sort: numbers as numbers, what is missing last.
  const heads = all(".matrices thead th");
  const value = (row, column) => {
    const text = row.cells[column] ? row.cells[column].textContent : "–";
    const number = parseFloat(text.replace(/[~≤\s\u202f]/g, "").replace("\u2212", "-"));
    return column > 0 && column !== 2 && !Number.isNaN(number) ? number : column === 0 || column === 2 ? text : null;
  };
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      // The largest numbers are asked for more often than the smallest; names start with the first.
      const descending = column === 0 || column === 2
        ? head.ariaSort === "ascending"
        : head.ariaSort !== "descending";
      for (const other of heads) other.ariaSort = null;
      head.ariaSort = descending ? "descending" : "ascending";
      const keyed = rows.map((row) => [value(row, column), row]);
      keyed.sort((a, b) => compare(a[0], b[0], descending ? -1 : 1));
      one(".matrices tbody").append(...keyed.map(([, row]) => row));
    });
  });

  // Hover: what is under the pointer, in words.
  const tip = one("#tip");
  const tell = (event, text) => {
    tip.textContent = text;
    tip.style.display = text ? "block" : "none";
    const right = event.clientX > innerWidth / 2;
    tip.style.left = `${event.clientX + (right ? -tip.offsetWidth - 14 : 14)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4)}px`;
  };
  const hush = () => { tip.style.display = "none"; };

  // The browser's own hints would cover ours: what they say is kept beside them.
  const hints = new Map();
  for (const title of all(".views svg title")) {
    hints.set(title.parentNode, title.textContent);
    title.remove();
  }

  for (const view of all(".view")) {
    const names = all(".grid thead th", view).slice(1).map((head) => head.textContent);
    const entries = all(".grid tbody tr", view).map((row) => [...row.cells].slice(1));
    const kinds = all(".grid thead th", view).slice(1).map((head) => head.dataset.kind);
    const blocks = all(".grid tbody th", view).map((head) => head.textContent);
    const squares = all(".heat path", view);
    const cells = entries.flatMap((cells, block) => cells.map((cell, kind) => ({ cell, block, kind }))).filter(({ cell }) => cell.textContent);
    squares.forEach((square, i) => {
      const { cell, block, kind } = cells[i];
      square.addEventListener("pointermove", (event) => tell(event, `${names[kind]} · block ${blocks[block]}: ${cell.textContent}`));
      square.addEventListener("pointerleave", hush);
      const link = one("a", cell);
      if (link) square.addEventListener("click", () => link.click());
    });

    // A line is lit by its legend and by the pointer near one of its dots.
    const light = (kind) => {
      view.classList.toggle("focus", kind !== null);
      for (const part of all("[data-kind]", view)) part.classList.toggle("on", part.dataset.kind === kind);
    };
    for (const item of all(".legend li", view)) {
      item.addEventListener("pointerenter", () => light(item.dataset.kind));
      item.addEventListener("pointerleave", () => light(null));
    }
    const svg = one(".lines svg", view);
    const dots = all(".series", view).flatMap((series) =>
      places(one(".dots", series).getAttribute("d")).map(([x, y]) => ({ x, y, kind: series.dataset.kind })));
    const [, low, high, from, to] = axis(svg.dataset.x);
    svg.addEventListener("pointermove", (event) => {
      const [x, y] = at(svg, event);
      const near = dots.reduce((best, dot) => {
        const far = Math.hypot(dot.x - x, dot.y - y);
        return far < best.far ? { far, dot } : best;
      }, { far: 24, dot: null }).dot;
      light(near && near.kind);
      if (!near) return hush();
      const block = Math.round(low + (near.x - from) / (to - from) * (high - low));
      const kind = kinds.indexOf(near.kind);
      tell(event, `${names[kind]} · block ${blocks[block]}: ${entries[block][kind].textContent}`);
    });
    svg.addEventListener("pointerleave", () => { light(null); hush(); });
    svg.addEventListener("click", (event) => {
      const [x, y] = at(svg, event);
      const near = dots.find((dot) => Math.hypot(dot.x - x, dot.y - y) < 10);
      const block = near && Math.round(low + (near.x - from) / (to - from) * (high - low));
      const link = near && one("a", entries[block][kinds.indexOf(near.kind)]);
      if (link) link.click();
    });
  }

  // Over the steps: the number of the cell under the pointer, from the table below the map.
  for (const course of all(".course")) {
    const map = one("svg.map", course);
    const steps = all("thead th", course).slice(1).map((head) => head.textContent);
    const lines = all("tbody tr", course);
    const [left, wide, high] = map.dataset.cells.split(" ").map(Number);
    map.addEventListener("pointermove", (event) => {
      const [x, y] = at(map, event);
      const [step, line] = [Math.floor((x - left) / wide), lines[Math.floor(y / high)]];
      const cell = step >= 0 && line && line.cells[step + 1];
      if (cell) tell(event, `${line.cells[0].textContent} · step ${steps[step]}: ${cell.textContent}`); else hush();
    });
    map.addEventListener("pointerleave", hush);
  }

  // In the pictures of a spectrum: a cross at the pointer, and the numbers it stands at.
  for (const svg of all(".pictures svg[data-x]")) {
    const x = axis(svg.dataset.x);
    const y = axis(svg.dataset.y);
    const [across, up] = [one(".axis", svg).textContent, one(".unit", svg).textContent];
    let cross = null;
    svg.addEventListener("pointermove", (event) => {
      const [px, py] = at(svg, event);
      if (px < x[3] || px > x[4] || py > y[3] || py < y[4]) return leave();
      if (!cross) {
        cross = document.createElementNS("http://www.w3.org/2000/svg", "path");
        cross.classList.add("cross");
        svg.append(cross);
      }
      cross.setAttribute("d", `M${px} ${y[3]}V${y[4]}M${x[3]} ${py}H${x[4]}`);
      tell(event, `${across} ${short(back(x, px))} · ${up} ${short(back(y, py))}`);
    });
    const leave = () => { if (cross) cross.remove(); cross = null; hush(); };
    svg.addEventListener("pointerleave", leave);
  }

  function places(path) {
    return path.split("M").slice(1).map((part) => part.split(/[ h]/).slice(0, 2).map(Number));
  }
  function axis(code) {
    const [scale, ...numbers] = code.split(" ");
    return [scale, ...numbers.map(Number)];
  }
  function back([scale, low, high, from, to], place) {
    const share = (place - from) / (to - from);
    return scale === "log" ? low * (high / low) ** share : low + share * (high - low);
  }
  function at(svg, event) {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [place.x, place.y];
  }
  function short(x) {
    return Math.abs(x) >= 0.001 && Math.abs(x) < 1e5 || x === 0 ? String(+x.toPrecision(3)) : x.toExponential(1);
  }
})();
