/**
 * First visits of the shop and of the sales page on a phone, for `cargo stack bench`. The system needs at least one sale.
 *
 *   CHROMIUM=/usr/bin/chromium node web/tests/visit.mjs http://localhost:8000
 *
 * It prints one line of JSON: for each page, when the largest element was painted, and how long tasks blocked the main
 * thread, the first 50 ms of each not counted. Both are defined at https://web.dev/articles/vitals.
 *
 * Plain JavaScript, because the oldest supported version of Node.js does not run TypeScript.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { URL } from "node:url";
import { chromium, expect as expectWithin, selectors } from "@playwright/test";

/* global PerformanceObserver, performance, requestAnimationFrame, window -- Those of the page. */

const phone = JSON.parse(readFileSync(new URL("phone.json", import.meta.url), "utf8"));
const expect = expectWithin.configure({ timeout: 30_000 });

async function visit(path, ready) {
  const page = await browser.newPage({ viewport: { width: 360, height: 740 }, locale: "de-DE", timezoneId: "Europe/Berlin" });
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  await session.send("Network.emulateNetworkConditions", phone.network);
  await session.send("Emulation.setCPUThrottlingRate", { rate: phone.cpuSlowdown });
  await page.addInitScript(() => {
    window.seen = { largest: 0, tasks: [] };
    new PerformanceObserver((list) => {
      window.seen.largest = list.getEntries().at(-1).startTime;
    }).observe({ type: "largest-contentful-paint", buffered: true });
    new PerformanceObserver((list) => {
      window.seen.tasks.push(...list.getEntries());
    }).observe({ type: "longtask", buffered: true });
  });
  await page.goto(new URL(path, process.argv[2]).href);
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await ready(page);
  // The tasks and paints of the last response are known two frames later.
  await page.evaluate(() => new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted))));
  const measured = await page.evaluate(() => {
    const [painted] = performance.getEntriesByName("first-contentful-paint");
    const blocking = window.seen.tasks.filter(({ startTime }) => startTime >= painted.startTime);
    const blocked = blocking.reduce((sum, { duration }) => sum + duration - 50, 0);
    return { largest_paint_ms: window.seen.largest, blocked_ms: blocked };
  });
  await page.close();
  return measured;
}

selectors.setTestIdAttribute("data-part");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
const shop = await visit("/", async () => {});
const sales = await visit("/sales.html", async (page) => {
  await expect(page.getByTestId("count")).not.toHaveText("–");
  await expect(page.getByTestId("today-count")).not.toHaveText("–");
  await expect(page.getByTestId("latest").getByRole("row").first()).not.toContainText("–");
  await expect(page.getByTestId("plot").locator("canvas").first()).toBeVisible();
});
await browser.close();
process.stdout.write(`${JSON.stringify({ shop, sales })}\n`);
