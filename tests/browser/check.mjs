// Opens the HTML report in a headless Chromium and uses it as a reader would. Not part of `cargo test`.
//
//   cargo build && npm install --prefix tests/browser
//   node tests/browser/check.mjs [SVDKIT] [FOLDER FOR SCREENSHOTS]
//
// CHROMIUM names the browser, by default /usr/bin/chromium.
import { execFileSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const svdkit = process.argv[2] ?? join(root, "target/debug/svdkit");
const folder = mkdtempSync(join(tmpdir(), "svdkit-page-"));
const pictures = process.argv[3] ?? folder;

/** A page of what `words` ask, written into the temporary folder. */
function page(name, ...words) {
  const path = join(folder, name);
  try {
    execFileSync(svdkit, [...words, "-q", "-o", path], { stdio: ["ignore", "ignore", "inherit"] });
  } catch (error) {
    // A broken rule writes its page, too.
    if (error.status !== 1) throw error;
  }
  return `file://${path}`;
}

/** A report of `model`. */
const report = (model, name, ...options) => page(name, "spectrum", model, ...options);

/** A safetensors file whose matrices have `names`. */
function checkpoint(names) {
  const side = 12;
  const bytes = side * side * 4;
  const header = Object.fromEntries(names.map((name, i) =>
    [name, { dtype: "F32", shape: [side, side], data_offsets: [i * bytes, (i + 1) * bytes] }]));
  const head = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(head.length));
  const entries = Float32Array.from({ length: names.length * side * side }, (_, i) => Math.sin(i * i));
  const path = join(folder, "hostile.safetensors");
  writeFileSync(path, Buffer.concat([length, head, Buffer.from(entries.buffer)]));
  return path;
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
let failures = 0;

/** Opens `url`, hands the page to `look`, and says whether anything it asked for was not so. */
async function check(claim, url, { scheme = "light", width = 1200, scripts = true }, look) {
  const context = await browser.newContext({
    colorScheme: scheme, viewport: { width, height: 900 }, javaScriptEnabled: scripts,
  });
  const page = await context.newPage();
  const complaints = [];
  const expect = (holds, what) => { if (!holds) complaints.push(what); };
  page.on("console", (message) => expect(!["error", "warning"].includes(message.type()), `console: ${message.text()}`));
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("request", (request) => expect(request.url() === url, `request: ${request.url()}`));
  try {
    await page.goto(url);
    await look(page, expect);
    await page.screenshot({ path: join(pictures, `${claim.replaceAll(/\W+/g, "-")}.png`), fullPage: true });
  } catch (error) {
    complaints.push(error.message);
  }
  await context.close();
  failures += complaints.length > 0;
  console.log(complaints.length > 0 ? `FAIL  ${claim}\n      ${complaints.join("\n      ")}` : `ok    ${claim}`);
}

const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
const count = (page, selector) => page.locator(selector).filter({ visible: true }).count();
const base = report(join(root, "fixtures/charlm/base"), "base.html", "--fail-if", "stable_rank < 1", "--fail-if", "alpha > 1e9");

await check("the page renders with every section", base, {}, async (page, expect) => {
  for (const id of ["verdicts", "worst", "depth", "kinds", "matrices", "details", "skipped", "columns", "origin"]) {
    expect(await page.locator(`#${id}`).isVisible(), `no #${id}`);
  }
  expect(await count(page, ".view") === 1, "one view at a time");
  expect(await count(page, ".matrices tbody tr") === 30, "30 matrices");
});

await check("a column is chosen", base, {}, async (page, expect) => {
  await page.selectOption("#column", "alpha");
  expect(await page.locator(".view[data-key='alpha']").isVisible(), "its view shows");
  expect(await count(page, ".view") === 1, "and no other");
});

await check("the table is filtered and sorted", base, {}, async (page, expect) => {
  await page.fill("#name", "*.mlp.*");
  expect(await count(page, ".matrices tbody tr") === 12, "12 MLP matrices");
  expect(await page.locator("#count").textContent() === "12 of 30", "the count says so");
  expect(await count(page, "details.matrix") === 12, "their sections, too");
  await page.fill("#name", "q_proj");
  expect(await count(page, ".matrices tbody tr") === 4, "a part of a name is enough");
  await page.fill("#name", "");
  const stable = page.locator(".matrices thead button", { hasText: "stable" }).first();
  const numbers = () => page.locator(".matrices tbody td:nth-of-type(4)").allTextContents().then((all) => all.map(Number));
  await stable.click();
  const falling = await numbers();
  expect(falling.every((x, i) => i === 0 || x <= falling[i - 1]), "largest first");
  await stable.click();
  const rising = await numbers();
  expect(rising.every((x, i) => i === 0 || x >= rising[i - 1]), "then smallest first");
  await page.check("#all");
  expect(await page.locator(".matrices thead th", { hasText: "entropy" }).isVisible(), "all columns");
  await page.check("#news");
  expect(await count(page, ".matrices tbody tr") < 30, "only what stands out");
});

await check("a matrix opens from the list of the worst and from the heat map", base, {}, async (page, expect) => {
  await page.locator(".matrices tbody a").first().click();
  expect(await count(page, "details.matrix[open] figure") === 4, "four pictures");
  await page.locator(".view:visible .heat path").first().click();
  expect(await page.locator("details.matrix[open]").count() === 2, "a second one");
  expect(await page.locator("details.matrix[open] .pictures").first().isVisible(), "in sight");
});

await check("the pointer is told what it is on", base, {}, async (page, expect) => {
  await page.locator(".view:visible .heat path").nth(3).hover();
  expect(/block 0: [\d.]+/.test(await page.locator("#tip").textContent()), "on the heat map");
  await page.locator(".legend:visible li").first().hover();
  expect(await count(page, ".view.focus .series.on") === 1, "a line is lit by its legend");
  await page.locator(".matrices tbody a").first().click();
  await page.locator("details.matrix[open] .pictures svg").first().hover({ position: { x: 200, y: 100 } });
  expect(/eigenvalue .* density/.test(await page.locator("#tip").textContent()), "on a spectrum");
});

await check("both themes, by the system and by hand", base, { scheme: "dark" }, async (page, expect) => {
  const dark = await background(page);
  await page.click("#theme");
  const light = await background(page);
  expect(dark !== light && light === "rgb(255, 255, 255)", `${dark}, then ${light}`);
  await page.click("#theme");
  expect(await background(page) === dark, "and back");
});

await check("a narrow screen scrolls down only", base, { width: 380 }, async (page, expect) => {
  await page.locator(".matrices tbody a").first().click();
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  expect(wide <= 380, `${wide} wide`);
});

await check("without scripts everything is there", base, { scripts: false }, async (page, expect) => {
  expect(await count(page, ".view") === 1, "one view");
  await page.selectOption("#column", "alpha");
  expect(await page.locator(".view[data-key='alpha']").isVisible(), "a column can still be chosen");
  await page.locator("details.matrix summary").first().click();
  expect(await count(page, "details.matrix[open] figure") === 4, "a section opens");
  expect(!await page.locator("#name").isVisible() && !await page.locator("#theme").isVisible(), "what needs scripts is hidden");
});

const hostile = report(checkpoint([
  "<script>window.hacked = 1</script>", "\"><img src=x onerror='window.hacked = 1'>", "</style></script>", "a.0.<b>&amp;'\"",
]), "hostile.html");
await check("names are text", hostile, {}, async (page, expect) => {
  expect(await page.evaluate(() => window.hacked) === undefined, "a name ran");
  expect(await count(page, "img") === 0, "a name became an element");
  expect(await page.getByText("<script>window.hacked = 1</script>").count() > 0, "and it is there to be read");
});

const fixture = (name) => join(root, "fixtures/charlm", name);
const pages = {
  spectrum: base,
  compare: page("compare.html", "compare", fixture("base"), fixture("full"), "--fail-if", "condition_number_change > 1%"),
  sides: page("sides.html", "compare", fixture("base"), "--tuned", `lora=${fixture("lora-r4")}`, "--tuned", `a.b@c=${fixture("full")}`),
  intruders: page("intruders.html", "intruders", fixture("base"), fixture("lora-r4")),
  rank: page("rank.html", "rank", fixture("base")),
  farms: page("farms.html", "farms", fixture("base"), "--windows-per-dim", "2"),
};

for (const [kind, url] of Object.entries(pages)) {
  for (const scheme of ["light", "dark"]) {
    for (const width of [360, 800, 1400]) {
      await check(`${kind}, ${scheme}, ${width} wide`, url, { scheme, width }, async (page, expect) => {
        expect(await count(page, ".view") === 1, "one view shows");
        expect(await page.evaluate(() => document.documentElement.scrollWidth) <= width, "no sideways scroll");
        const options = await page.locator("#column option:not([disabled])").evaluateAll((all) => all.map((o) => o.value));
        for (const key of [options[0], options.at(-1)]) {
          await page.selectOption("#column", key);
          expect(await page.locator(`.view[data-key='${key}'] .lines svg`).isVisible(), `the view of ${key} shows`);
        }
        const word = options[0].slice(0, 5);
        await page.fill("#find", word.toUpperCase());
        const left = await page.locator("#column option").evaluateAll((all) => all.filter((o) => !o.hidden).map((o) => o.textContent));
        expect(left.length > 0 && left.every((text) => text.toLowerCase().includes(word)), "columns are found");
        expect(await page.locator("#column optgroup").count() > 0, "and in groups");
        await page.locator(".matrices tbody a").nth(2).click();
        expect(await count(page, "details.matrix[open] figure") >= 2, "a matrix has pictures");
        const broken = await page.locator("dd").evaluateAll((all) => all.filter((number) => {
          const text = document.createRange();
          text.selectNodeContents(number);
          return !number.closest("#origin") && text.getClientRects().length > 1;
        }).length);
        expect(broken === 0, `${broken} numbers broken`);
      });
    }
  }
}

await check("a comparison shows both sides of a matrix", pages.compare, {}, async (page, expect) => {
  const names = await page.locator(".matrices tbody th").allTextContents();
  expect(names.length === 30 && !names.some((name) => name.includes("norm")), "no vectors among the matrices");
  expect((await page.locator(".matrices thead th").nth(3).textContent()).includes("cond"), "the broken rule's column first");
  expect(await page.inputValue("#column") === "condition_number_change", "and across the model");
  expect(await count(page, ".matrices tr.broken") === 6, "rows that break a rule are marked");
  await page.locator(".matrices thead button").nth(3).click();
  const changes = (await page.locator(".matrices tbody td:nth-of-type(3)").allTextContents()).map((text) => parseFloat(text.replace("−", "-")));
  expect(changes.every((x, i) => i === 0 || x <= changes[i - 1]) && changes.at(-1) < 0, "sorted with their signs");
  await page.locator(".matrices tbody a").first().click();
  const section = page.locator("details.matrix[open]");
  expect(await section.locator("path.sides").count() >= 4, "two lines in two pictures");
  expect((await section.locator("table.change thead").textContent()) === "metricbasetunedchange", "base, tuned and change");
  await page.selectOption("#column", "spectral_norm_change");
  expect(await page.locator(".view:visible .heat .d4").count() > 0, "a palette that diverges");
});

await check("cosines are drawn without a detailed report", pages.intruders, {}, async (page, expect) => {
  await page.locator(".matrices tbody a").first().click();
  expect(await page.locator("details.matrix[open] figcaption", { hasText: "Cosines" }).isVisible(), "their picture");
});

await browser.close();
console.log(`${failures === 0 ? "all well" : `${failures} failed`}; screenshots in ${pictures}`);
process.exitCode = failures === 0 ? 0 : 1;
